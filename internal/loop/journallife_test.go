package loop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
	"toolhand/internal/loop/slots"
	"toolhand/internal/registry"
	"toolhand/internal/sim"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	"toolhand/internal/upstream"
)

// how is what becomes of an operation.
type how int

const (
	well         how = iota
	lost             // never done, and reported lost
	persisted        // done, and reported lost
	hangs            // never done; its context ends it
	doneAndHangs     // done, and its context ends the wait for the answer
	diesBefore       // the process dies before it is done
	diesAfter        // done, and the process dies before it knows
)

var hows = [...]string{"well", "lost", "persisted", "hangs", "done and hangs", "dies before", "dies after"}

func (h how) String() string { return hows[h] }

// point is a place where something can go wrong: the nth time that a life does
// op for a call. op is one of start, finish, forget, recover, send, list, stream
// and run.
type point struct {
	life int
	op   string
	call string
	n    int
}

// fate is what a plan has for a point.
type fate struct {
	how       how
	after     time.Duration // how long it is under way before that
	interrupt interrupt     // meanwhile
	dies      time.Duration // the process dies so long after it is done, or is not; 0: it doesn't
}

// interrupt is when the user interrupts while an operation is under way.
type interrupt int

const (
	never interrupt = iota
	beforeDone
	afterDone
)

var interrupts = [...]string{"", "interrupted before", "interrupted after"}

func (i interrupt) String() string { return interrupts[i] }

var (
	errDead = errors.New("the process is dead")
	errLost = errors.New("connection reset by peer")
)

// life is one process of the worker: everything that is gone when it dies. What
// it has begun and not done by then is never done: nothing of it reaches the
// store, the API or a tool.
type life struct {
	o      *outside
	n      int
	served *Session
	cancel context.CancelFunc
	died   chan struct{}
	joined chan struct{} // closed when Serve has returned
	web    *http.Transport
	wg     sync.WaitGroup // handlers

	mu     sync.Mutex
	dead   bool             // guarded by mu
	diedAt time.Time        // guarded by mu
	counts map[point]int    // guarded by mu
	conns  map[net.Conn]int // guarded by mu
}

// boot starts the next life, on the same store.
func (o *outside) boot(n int) *life {
	l := &life{o: o, n: n, died: make(chan struct{}), joined: make(chan struct{}), counts: map[point]int{}, conns: map[net.Conn]int{}}
	l.web = &http.Transport{DialContext: l.dial, MaxIdleConnsPerHost: 64}
	log := slog.New(slog.NewTextHandler(traceWriter{o, n}, nil))
	client, err := upstream.New(upstream.Options{
		BaseURL: "http://pipe.test", Credential: upstream.Credential{APIKey: testKey}, Transport: l, Log: log,
	})
	if err != nil {
		o.t.Fatal(err)
	}
	set := map[string]*registry.Tool{}
	for _, spec := range o.tools {
		spec.Handler = handlerFunc(l.handle)
		if set[spec.Name], err = registry.NewTool(spec); err != nil {
			o.t.Fatal(err)
		}
	}
	l.served = New(Config{
		Settings: Settings{
			Session: o.session.ID(), Owner: fmt.Sprintf("life%d", n), Linger: 250 * time.Millisecond, Reconcile: 5 * time.Minute,
			Lookup: func(name string) (*registry.Tool, bool) { t, ok := set[name]; return t, ok },
		},
		Client: client, Slots: slots.New(o.slots), Log: log,
		Journal: &mortal{l, o.store.journal()},
		Report:  func(r run.Report) { o.record.report(l, r) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	o.trace("life %d begins", n)
	go func() {
		defer close(l.joined)
		defer client.Close()
		l.served.Serve(ctx)
	}()
	return l
}

// die is a SIGKILL: from here on nothing of this life has an effect.
func (l *life) die() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return
	}
	l.dead, l.diedAt = true, time.Now()
	l.o.trace("life %d dies", l.n)
	close(l.died)
	for c := range l.conns {
		c.Close()
	}
	l.cancel()
}

func (l *life) isDead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// wait lets time pass, and reports whether neither ctx nor the life ended.
func (l *life) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-l.died:
	}
	return ctx.Err() == nil && !l.isDead()
}

// fate looks up what becomes of an operation.
func (l *life) fate(op, call string) fate {
	p := point{life: l.n, op: op, call: call}
	l.mu.Lock()
	l.counts[p]++
	p.n = l.counts[p]
	l.mu.Unlock()
	f := l.o.fateOf(p)
	if f != (fate{}) {
		l.o.trace("life %d: %s %s #%d: %s after %s, %s, dies %s", l.n, op, call, p.n, f.how, f.after, f.interrupt, f.dies)
	}
	return f
}

// do does an operation as its fate says. do must not end with ctx: an operation
// that is done is done whole.
func (l *life) do(ctx context.Context, op, call string, do func(context.Context) error) error {
	if l.isDead() {
		return errDead
	}
	f := l.fate(op, call)
	if f.after > 0 {
		l.wait(ctx, f.after)
	}
	if f.interrupt == beforeDone {
		l.interrupted(ctx)
	}
	done := f.how != lost && f.how != hangs && f.how != diesBefore
	if f.how == diesBefore {
		l.die()
	}
	if l.isDead() {
		return errDead
	}
	if ctx.Err() != nil && f.how == well {
		return ctx.Err()
	}
	if done {
		if err := do(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	if f.interrupt == afterDone {
		l.interrupted(ctx)
	}
	if f.dies > 0 {
		time.AfterFunc(f.dies, l.die)
	}
	switch f.how {
	case well:
		return nil
	case diesAfter:
		l.die()
		return errDead
	case hangs, doneAndHangs:
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.died:
			return errDead
		}
	}
	return errLost
}

// interrupted lets the user interrupt, and the stream tell of it.
func (l *life) interrupted(ctx context.Context) {
	l.o.interrupt()
	l.wait(ctx, 20*time.Millisecond)
}

// mortal is the journal on the store in the hands of one life.
type mortal struct {
	life *life
	real Journal
}

func (m *mortal) Start(ctx context.Context, e journal.Entry) (revision uint64, err error) {
	err = m.life.do(ctx, "start", e.Call, func(ctx context.Context) error {
		revision, err = m.real.Start(ctx, e)
		m.life.o.record.started(m.life, e, err)
		return err
	})
	return revision, err
}

func (m *mortal) Finish(ctx context.Context, e journal.Entry) (revision uint64, err error) {
	err = m.life.do(ctx, "finish", e.Call, func(ctx context.Context) error {
		revision, err = m.real.Finish(ctx, e)
		m.life.o.record.finished(e, err)
		return err
	})
	return revision, err
}

func (m *mortal) Forget(ctx context.Context, session string, calls ...string) error {
	return m.life.do(ctx, "forget", calls[0], func(ctx context.Context) error {
		m.life.o.record.forgetting(m.life, calls)
		return m.real.Forget(ctx, session, calls...)
	})
}

func (m *mortal) Recover(ctx context.Context, session string, have []journal.Entry) (found []journal.Entry, err error) {
	err = m.life.do(ctx, "recover", "", func(ctx context.Context) error {
		found, err = m.real.Recover(ctx, session, have)
		return err
	})
	return found, err
}

// RoundTrip is the network between this life and the API.
func (l *life) RoundTrip(req *http.Request) (res *http.Response, err error) {
	op := l.o.endpoint(req)
	if op == "stream" { // its body lives on
		if f := l.fate(op, ""); f.how != well || l.isDead() {
			return nil, errLost
		}
		return l.web.RoundTrip(req)
	}
	ids, begun := sentCalls(req), time.Now()
	first := ""
	if len(ids) > 0 {
		first = ids[0]
	}
	if op == "send" {
		l.o.record.sending(l, ids)
		// What is lost from here on has left the process for all that it knows.
		httptrace.ContextClientTrace(req.Context()).GotConn(httptrace.GotConnInfo{})
	}
	err = l.do(req.Context(), op, first, func(ctx context.Context) error {
		begun = time.Now()
		if res, err = l.web.RoundTrip(req.WithContext(ctx)); err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		res.Body = io.NopCloser(bytes.NewReader(body))
		return err
	})
	switch {
	case op == "send":
		l.o.record.sent(ids, err == nil && res.StatusCode < 500)
	case op == "list" && err == nil:
		l.o.record.looked(begun)
	}
	if err != nil {
		return nil, err
	}
	return res, nil
}

// sentCalls are the calls whose results a send holds.
func sentCalls(req *http.Request) (ids []string) {
	if req.Method != http.MethodPost || req.GetBody == nil {
		return nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil
	}
	var b struct {
		Events []struct {
			Call string `json:"custom_tool_use_id"`
		} `json:"events"`
	}
	if json.NewDecoder(body).Decode(&b) != nil {
		return nil
	}
	for _, e := range b.Events {
		ids = append(ids, e.Call)
	}
	return ids
}

// dial opens a connection that dies with the process.
func (l *life) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := l.o.net.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = l.n
	if l.dead {
		c.Close()
	}
	return c, nil
}

// task is the input of a call: what its tool does.
type task struct {
	MS   int    `json:"ms"`
	How  string `json:"how"` // ok, fail, lost, unavailable, panic
	Deaf bool   `json:"deaf"`
}

// handle is the tools' handler. What a run says is said by no other.
func (l *life) handle(ctx context.Context, c tools.Call) (tools.Result, error) {
	var in task
	if err := json.Unmarshal(c.Input, &in); err != nil {
		return tools.Result{}, err
	}
	run := l.o.record.run(l, c)
	if run == nil {
		return tools.Result{}, errDead
	}
	l.wg.Add(1)
	defer l.wg.Done()
	f := l.fate("run", c.ID)
	if f.how == diesAfter || f.how == diesBefore {
		if l.wait(ctx, f.after) {
			l.die()
		}
	}
	wait := ctx
	if in.Deaf {
		wait = context.WithoutCancel(ctx)
	}
	if !l.wait(wait, time.Duration(in.MS)*time.Millisecond) {
		l.o.record.stopped(run)
		return tools.Result{}, context.Cause(ctx)
	}
	l.o.record.stopped(run)
	switch in.How {
	case "fail":
		return content.Error(run.text), nil
	case "lost":
		return tools.Result{}, &tools.LostError{Err: errors.New(run.text)}
	case "unavailable":
		return tools.Result{}, &tools.UnavailableError{Err: errors.New(run.text)}
	case "panic":
		panic(run.text)
	}
	return content.Text(run.text), nil
}

// endpoint names a request as points do.
func (o *outside) endpoint(req *http.Request) string {
	switch path := req.URL.Path; {
	case req.Method == http.MethodPost:
		return string(sim.Send)
	case len(path) > 7 && path[len(path)-7:] == "/stream":
		return string(sim.Stream)
	case len(path) > 7 && path[len(path)-7:] == "/events":
		return string(sim.List)
	}
	return string(sim.Get)
}

// traceWriter puts a life's log into the trace.
type traceWriter struct {
	o    *outside
	life int
}

func (w traceWriter) Write(p []byte) (int, error) {
	w.o.trace("life %d log: %s", w.life, bytes.TrimSpace(p[:min(len(p), 300)]))
	return len(p), nil
}

package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"toolhand/internal/loop/run"
	"toolhand/internal/loop/slots"
	"toolhand/internal/registry"
	"toolhand/internal/testkit"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	toolnats "toolhand/internal/tools/nats"
	"toolhand/internal/tools/natswire"
)

type handlerFunc func(context.Context, tools.Call) (tools.Result, error)

func (f handlerFunc) Call(ctx context.Context, c tools.Call) (tools.Result, error) { return f(ctx, c) }

// rig is a NATS server, and a connection of who asks.
type rig struct {
	t   *testing.T
	srv *server.Server
	nc  *nats.Conn
}

func newRig(t *testing.T) *rig {
	t.Helper()
	srv, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, MaxPayload: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	r := &rig{t: t, srv: srv}
	r.nc = r.connect()
	return r
}

func (r *rig) connect() *nats.Conn {
	r.t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(r.srv), nats.ReconnectBufSize(-1))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(nc.Close)
	return nc
}

// served is a server that serves.
type served struct {
	*Server
	set   atomic.Pointer[registry.Set]
	drain context.CancelFunc
	hard  context.CancelFunc
	left  chan int
}

func (r *rig) serve(grace time.Duration, specs ...registry.Manifest) *served {
	r.t.Helper()
	return r.serveWith(grace, func(*Config) {}, specs...)
}

func (r *rig) serveWith(grace time.Duration, with func(*Config), specs ...registry.Manifest) *served {
	r.t.Helper()
	s := &served{left: make(chan int, 1)}
	s.set.Store(setOf(r.t, specs...))
	log := slog.New(slog.DiscardHandler)
	cfg := Config{Conn: r.connect(), Set: s.set.Load, Version: "1.0.0", Log: log, Once: run.Once{
		Lookup: func(name string) (*registry.Tool, bool) { return s.set.Load().Lookup(name) }, Runner: run.Runner{Slots: slots.New(64), Log: log}}}
	with(&cfg)
	s.Server = New(cfg)
	var drain, hard context.Context
	drain, s.drain = context.WithCancel(context.Background())
	hard, s.hard = context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		left, err := s.Serve(drain, hard, grace)
		if err != nil {
			r.t.Error(err)
		}
		s.left <- left
	}()
	r.t.Cleanup(func() { s.hard(); <-done })
	testkit.Eventually(r.t, "it serves", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.services != nil
	})
	if err := s.cfg.Conn.Flush(); err != nil {
		r.t.Fatal(err)
	}
	return s
}

func setOf(t *testing.T, specs ...registry.Manifest) *registry.Set {
	t.Helper()
	var all []*registry.Tool
	for _, spec := range specs {
		tool, err := registry.NewTool(spec)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, tool)
	}
	return registry.NewSet(all...)
}

// ask asks as a session's worker does.
func (r *rig) ask(ctx context.Context, tool, id, input string, deadline time.Duration) (tools.Result, error) {
	r.t.Helper()
	h, err := toolnats.New(toolnats.Config{}, tools.Common{Name: tool}, func() (*nats.Conn, error) { return r.nc, nil })
	if err != nil {
		r.t.Fatal(err)
	}
	call := tools.Call{ID: id, Tool: tool, Session: "sesn_1", Thread: "sthr_1", Input: json.RawMessage(input), Deadline: time.Now().Add(deadline)}
	ctx, cancel := context.WithDeadline(ctx, call.Deadline)
	defer cancel()
	return h.Call(ctx, call)
}

func text(s string) handlerFunc {
	return func(context.Context, tools.Call) (tools.Result, error) { return content.Text(s), nil }
}

// What a tool answers reaches who asked as it is, and so does what kept it from
// answering.
func TestOutcomes(t *testing.T) {
	r := newRig(t)
	fail := func(err error) handlerFunc {
		return func(context.Context, tools.Call) (tools.Result, error) { return tools.Result{}, err }
	}
	r.serve(time.Second,
		registry.Manifest{Name: "echo", Handler: handlerFunc(func(_ context.Context, c tools.Call) (tools.Result, error) {
			return content.Text(fmt.Sprint(c.ID, c.Session, c.Thread, string(c.Input))), nil
		}), InputSchema: json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"}}}`)},
		registry.Manifest{Name: "image", Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
			return tools.Result{Content: json.RawMessage(`[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="}}]`)}, nil
		})},
		registry.Manifest{Name: "fails", Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) { return content.Error("no"), nil })},
		registry.Manifest{Name: "away", Handler: fail(&tools.UnavailableError{Err: errors.New("connection refused")})},
		registry.Manifest{Name: "lost", Handler: fail(&tools.LostError{Err: errors.New("connection reset")})},
		registry.Manifest{Name: "panics", Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) { panic("oh") })},
		registry.Manifest{Name: "big", Handler: text(strings.Repeat("x", 2<<20)), MaxResultBytes: 4 << 20},
	)
	for _, c := range []struct {
		tool, input string
		want        string
		isError     bool
		unavailable string
		lost        string
	}{
		{tool: "echo", input: `{"n":1}`, want: `sevt_1sesn_1sthr_1{\"n\":1}`},
		{tool: "echo", input: `{"n":"x"}`, want: `Invalid input for tool \"echo\":`, isError: true},
		{tool: "image", want: `"media_type":"image/png"`},
		{tool: "fails", want: `"no"`, isError: true},
		{tool: "panics", want: `its handler panicked`, isError: true},
		{tool: "away", unavailable: "connection refused"},
		{tool: "lost", lost: "connection reset"},
		{tool: "big", want: "larger than the 1048576 bytes", isError: true},
	} {
		if c.input == "" {
			c.input = `{}`
		}
		res, err := r.ask(t.Context(), c.tool, "sevt_1", c.input, 2*time.Second)
		var unavailable *tools.UnavailableError
		var lost *tools.LostError
		switch {
		case c.unavailable != "":
			if !errors.As(err, &unavailable) || err.Error() != c.unavailable {
				t.Errorf("%s: %v, want unavailable: %s", c.tool, err, c.unavailable)
			}
		case c.lost != "":
			if !errors.As(err, &lost) || err.Error() != c.lost {
				t.Errorf("%s: %v, want lost: %s", c.tool, err, c.lost)
			}
		case err != nil || res.IsError != c.isError || !strings.Contains(string(res.Content), c.want):
			t.Errorf("%s %s: %s, error %t, %v", c.tool, c.input, res.Content, res.IsError, err)
		}
	}
}

// Calls of one tool run at once, unless its manifest says otherwise.
func TestCallsRunAtOnce(t *testing.T) {
	r := newRig(t)
	const n = 40
	var running atomic.Int32
	all := make(chan struct{})
	r.serve(time.Second, registry.Manifest{Name: "meet", Handler: handlerFunc(func(ctx context.Context, c tools.Call) (tools.Result, error) {
		if running.Add(1) == n {
			close(all)
		}
		select {
		case <-all:
		case <-ctx.Done():
		}
		return content.Text("met"), ctx.Err()
	})})
	errs := make(chan error, n)
	for i := range n {
		go func() {
			_, err := r.ask(t.Context(), "meet", fmt.Sprint("sevt_", i), `{}`, 10*time.Second)
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// Whoever asked and gave up stops the tool.
func TestCalledOff(t *testing.T) {
	r := newRig(t)
	begun, stopped := make(chan struct{}), make(chan struct{})
	s := r.serve(time.Second, registry.Manifest{Name: "slow", Handler: handlerFunc(func(ctx context.Context, c tools.Call) (tools.Result, error) {
		close(begun)
		<-ctx.Done()
		close(stopped)
		return tools.Result{}, context.Cause(ctx)
	})})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	if _, err := r.ask(ctx, "slow", "sevt_1", `{}`, time.Minute); err == nil {
		t.Error("a call that was called off has an answer")
	}
	<-stopped
	testkit.Eventually(r.t, "nothing is open", func() bool { return s.Open() == 0 })
}

// A drain lets what runs end, and turns nobody else away: the next one is asked.
func TestDrain(t *testing.T) {
	r := newRig(t)
	begun, let := make(chan struct{}, 1), make(chan struct{})
	one := r.serve(10*time.Second, registry.Manifest{Name: "a", Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
		begun <- struct{}{}
		<-let
		return content.Text("one"), nil
	})})
	first := make(chan string, 1)
	go func() {
		res, err := r.ask(t.Context(), "a", "sevt_1", `{}`, 20*time.Second)
		first <- fmt.Sprint(string(res.Content), err)
	}()
	<-begun
	r.serve(time.Second, registry.Manifest{Name: "a", Handler: text("two")})
	one.drain()
	testkit.Eventually(r.t, "the first takes no more calls", func() bool {
		one.mu.Lock()
		defer one.mu.Unlock()
		return one.stopped
	})
	if err := one.cfg.Conn.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if res, err := r.ask(t.Context(), "a", fmt.Sprint("sevt_more", i), `{}`, 5*time.Second); err != nil || !strings.Contains(string(res.Content), "two") {
			t.Errorf("%s %v", res.Content, err)
		}
	}
	close(let)
	if got := <-first; !strings.Contains(got, "one") {
		t.Errorf("the call that ran: %s", got)
	}
	if left := <-one.left; left != 0 {
		t.Errorf("%d calls left", left)
	}
}

// retried is a tool that can't be reached yet, and is tried again and again.
func retried(tries chan<- struct{}, idempotent bool, why error) registry.Manifest {
	return registry.Manifest{Name: "a", Idempotent: idempotent, Retry: registry.Retry{Attempts: 1000, Backoff: 100 * time.Millisecond},
		Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
			select {
			case tries <- struct{}{}:
			default:
			}
			return tools.Result{}, why
		})}
}

// An attempt that is due while draining is left to who asked: the call is answered at
// once, as one that did not run and may be asked again, and where it may have run as one
// whose outcome is not known.
func TestDrainHandsOverRetries(t *testing.T) {
	for name, c := range map[string]struct {
		idempotent bool
		why        error
	}{
		"unavailable":            {false, &tools.UnavailableError{Err: errors.New("connection refused")}},
		"idempotent unavailable": {true, &tools.UnavailableError{Err: errors.New("connection refused")}},
		"idempotent lost":        {true, &tools.LostError{Err: errors.New("connection reset")}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			tries := make(chan struct{}, 1)
			s := r.serve(20*time.Second, retried(tries, c.idempotent, c.why))
			go func() { <-tries; s.drain() }()
			begun := time.Now()
			_, err := r.ask(t.Context(), "a", "sevt_1", `{}`, time.Minute)
			var unavailable *tools.UnavailableError
			var lost *tools.LostError
			switch {
			case errors.As(c.why, &lost):
				if !errors.As(err, &lost) || !strings.Contains(err.Error(), "connection reset") {
					t.Errorf("%v", err)
				}
			case !errors.As(err, &unavailable) || !unavailable.Passing || err.Error() != "connection refused":
				t.Errorf("%v", err)
			}
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
			if left := <-s.left; left != 0 {
				t.Errorf("%d calls left", left)
			}
		})
	}
}

// What is stopped at the end of the grace is answered at once, as an outcome that
// nobody knows.
func TestEndOfTheGrace(t *testing.T) {
	r := newRig(t)
	begun := make(chan struct{})
	s := r.serve(50*time.Millisecond, registry.Manifest{Name: "a", Handler: handlerFunc(func(ctx context.Context, c tools.Call) (tools.Result, error) {
		close(begun)
		<-ctx.Done()
		return tools.Result{}, context.Cause(ctx)
	})})
	go func() { <-begun; s.drain() }()
	_, err := r.ask(t.Context(), "a", "sevt_1", `{}`, time.Minute)
	var lost *tools.LostError
	if !errors.As(err, &lost) || !strings.Contains(err.Error(), "shuts down") {
		t.Errorf("%v", err)
	}
	if left := <-s.left; left != 1 {
		t.Errorf("%d calls left", left)
	}
}

// A deadline that has passed is not begun, and one of the asker's holds here too.
func TestDeadline(t *testing.T) {
	r := newRig(t)
	var ran atomic.Int32
	r.serve(time.Second, registry.Manifest{Name: "a", Deadline: time.Hour, DeadlineText: "1h", Handler: handlerFunc(func(ctx context.Context, c tools.Call) (tools.Result, error) {
		ran.Add(1)
		<-ctx.Done()
		return tools.Result{}, context.Cause(ctx)
	})})
	for i, in := range []time.Duration{-time.Second, 200 * time.Millisecond} {
		msg := nats.NewMsg("toolhand.tool.a")
		msg.Header.Set("Tool-Use-Id", "sevt_1")
		msg.Header.Set("Tool-Deadline", time.Now().Add(in).Format(time.RFC3339Nano))
		reply, err := r.nc.RequestMsg(msg, 5*time.Second)
		if err != nil || reply.Header.Get(natswire.OutcomeHeader) != "deadline" || int(ran.Load()) != i {
			t.Errorf("deadline in %s: %v, %v, ran %d times", in, err, reply, ran.Load())
		}
	}
}

// What is offered follows the set in force, and says what it is.
func TestAnnounceAndReload(t *testing.T) {
	r := newRig(t)
	s := r.serve(time.Second, registry.Manifest{Name: "a", Handler: text("a"), Description: "what a does", Deadline: 3 * time.Second, DeadlineText: "3s", Idempotent: true})
	meta := r.announced()
	if m := meta["a"]; len(meta) != 1 || m["toolhand.tool"] != "a" || m["toolhand.description"] != "what a does" ||
		m["toolhand.input_schema"] != `{"type":"object"}` || m["toolhand.deadline"] != "3s" || m["toolhand.idempotent"] != "true" {
		t.Errorf("announced %v", meta)
	}
	var specs []registry.Manifest
	for i := range 100 {
		specs = append(specs, registry.Manifest{Name: fmt.Sprint("b", i), Handler: text("b")})
	}
	s.set.Store(setOf(t, specs...))
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(r.t, "the new ones are announced, and only they", func() bool {
		meta := r.announced()
		return len(meta) == 100 && meta["a"] == nil && meta["b99"] != nil
	})
	if _, err := r.ask(t.Context(), "b42", "sevt_1", `{}`, 5*time.Second); err != nil {
		t.Error(err)
	}
	before := s.services
	if err := s.Reload(); err != nil || len(before) != 2 || s.services[0] != before[0] {
		t.Errorf("a reload of the same set made new services: %v", err)
	}
}

func (r *rig) announced() map[string]map[string]string {
	r.t.Helper()
	sub, err := r.nc.SubscribeSync(nats.NewInbox())
	if err != nil {
		r.t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := r.nc.PublishRequest("$SRV.INFO", sub.Subject, nil); err != nil {
		r.t.Fatal(err)
	}
	all := map[string]map[string]string{}
	for {
		m, err := sub.NextMsg(100 * time.Millisecond)
		if err != nil {
			return all
		}
		var info micro.Info
		if err := json.Unmarshal(m.Data, &info); err != nil {
			r.t.Fatal(err)
		}
		for _, e := range info.Endpoints {
			all[e.Name] = e.Metadata
		}
	}
}

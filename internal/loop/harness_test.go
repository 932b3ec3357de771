package loop

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"toolhand/internal/apispec"
	"toolhand/internal/journal"
	"toolhand/internal/loop/circuit"
	"toolhand/internal/loop/run"
	"toolhand/internal/loop/slots"
	"toolhand/internal/registry"
	"toolhand/internal/sim"
	"toolhand/internal/testkit"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	"toolhand/internal/upstream"
)

// handlerFunc is a handler in Go.
type handlerFunc func(ctx context.Context, c tools.Call) (tools.Result, error)

func (f handlerFunc) Call(ctx context.Context, c tools.Call) (tools.Result, error) { return f(ctx, c) }

// echo answers with the input.
func echo(_ context.Context, c tools.Call) (tools.Result, error) {
	return content.Text(string(c.Input)), nil
}

// rig is a session served for real: the simulated API over HTTP, held against
// the official document, the client, the loop.
type rig struct {
	t       *testing.T
	sim     *sim.Server
	session *sim.Session
	client  *upstream.Client
	journal *journal.Memory
	slots   *slots.Slots
	log     *logBuffer
	logger  *slog.Logger

	mu      sync.Mutex
	tools   map[string]*registry.Tool // guarded by mu
	reports map[string][]run.Report   // guarded by mu; by call

	patience time.Duration // how long a wait of the test's own may be

	served *Session
	stop   context.CancelFunc
	reason chan Reason
}

// logBuffer collects log lines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const (
	sessionID = "sesn_test"
	testKey   = "sk-test-key"
)

// options of a rig.
type options struct {
	sim         sim.Options
	client      upstream.Options
	set         Settings
	slots       int
	idle        time.Duration
	unchecked   bool // the traffic is deliberate garbage
	journal     Journal
	lateStart   bool
	sessionSpec sim.SessionSpec
	level       slog.Level // of the log; debug by default
	pipe        bool       // over net.Pipe, for a synctest bubble
	before      func(*rig) // before the session is served
	live        func(time.Time)
}

func newRig(t *testing.T, change func(*options)) *rig {
	t.Helper()
	o := options{level: slog.LevelDebug, set: Settings{Session: sessionID, Owner: "test", Linger: 20 * time.Millisecond}}
	o.sessionSpec.ID = sessionID
	if change != nil {
		change(&o)
	}
	r := &rig{t: t, sim: sim.New(o.sim), tools: map[string]*registry.Tool{}, reports: map[string][]run.Report{}, journal: &journal.Memory{},
		slots: slots.New(o.slots), log: &logBuffer{}, reason: make(chan Reason, 1)}
	handler := r.sim.Handler()
	if !o.unchecked {
		handler = apispec.Load(t).Wrap(t, handler, nil)
	}
	t.Cleanup(r.noCredentials)
	r.patience = 20 * time.Second
	if o.pipe {
		r.patience = 24 * time.Hour // which passes at once
		net := newPipes()
		net.serve(t, handler)
		o.client.BaseURL, o.client.Transport = "http://pipe.test", &http.Transport{DialContext: net.dial, MaxIdleConnsPerHost: 64}
	} else {
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		o.client.BaseURL = server.URL
	}
	t.Cleanup(r.sim.Close)
	r.session = r.sim.NewSession(o.sessionSpec)
	r.logger = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: o.level}))
	o.client.Log = r.logger
	if o.client.Credential == (upstream.Credential{}) {
		o.client.Credential = upstream.Credential{APIKey: testKey}
	}
	var err error
	if r.client, err = upstream.New(o.client); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	o.set.Lookup = r.lookup
	var journal Journal = r.journal
	if o.journal != nil {
		journal = o.journal
	}
	r.served = New(Config{Settings: o.set, Client: r.client, Slots: r.slots, Journal: journal, Log: r.logger, StreamIdle: o.idle,
		Report: r.note, Circuits: &circuit.Circuits{}, Live: o.live})
	if o.before != nil {
		o.before(r)
	}
	if !o.lateStart {
		r.start()
		r.attach()
	}
	return r
}

// noCredentials looks for the key where it must never be (invariant 7).
func (r *rig) noCredentials() {
	if strings.Contains(r.log.String(), testKey) {
		r.t.Error("the credential is in the log")
	}
}

func (r *rig) note(p run.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports[p.ID] = append(r.reports[p.ID], p)
}

// ended is the one outcome that was reported of a call.
func (r *rig) ended(id string, want run.Outcome) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.reports[id]; len(p) != 1 || p[0].Outcome != want {
		r.t.Errorf("call %s: reported %+v, want once %s", id, p, want)
	}
}

// start serves the session until the test ends.
func (r *rig) start() {
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.reason <- r.served.Serve(ctx)
	}()
	r.t.Cleanup(func() {
		cancel()
		<-done
		if r.t.Failed() || testing.Verbose() {
			r.t.Log("log:\n" + r.log.String())
		}
	})
}

// attach waits until the first attach is done.
func (r *rig) attach() {
	r.t.Helper()
	testkit.Eventually(r.t, "attached", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		st, _ := r.served.Status(ctx)
		return st.Attached
	})
}

func (r *rig) lookup(name string) (*registry.Tool, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.tools[name]
	return t, ok
}

// tool puts a tool in force.
func (r *rig) tool(spec registry.Manifest) {
	r.t.Helper()
	t, err := registry.NewTool(spec)
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tools[t.Name] = t
}

func (r *rig) echo(name string) { r.tool(registry.Manifest{Name: name, Handler: handlerFunc(echo)}) }

// answered waits for the results of calls.
func (r *rig) answered(ids ...string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), r.patience)
	defer cancel()
	if err := r.session.WaitAnswered(ctx, ids...); err != nil {
		r.t.Fatalf("calls %v are not answered: %v", ids, err)
	}
}

// result is a call's accepted result.
func (r *rig) result(id string) sim.Result {
	r.t.Helper()
	res, ok := r.session.Result(id)
	if !ok {
		r.t.Fatalf("call %s has no result", id)
	}
	return res
}

// over waits for the end of the session's service.
func (r *rig) over(want Reason) {
	r.t.Helper()
	select {
	case got := <-r.reason:
		if got != want {
			r.t.Errorf("the session ended with %q, want %q", got, want)
		}
	case <-time.After(r.patience):
		r.t.Fatal("the session is still served")
	}
}

func (r *rig) count(e sim.Endpoint) int { return r.sim.Count(sessionID, e) }

// beside serves another session with the same client, slots and tools.
func (r *rig) beside(id string) *sim.Session {
	r.t.Helper()
	session := r.sim.NewSession(sim.SessionSpec{ID: id})
	cfg := r.served.cfg
	cfg.Session, cfg.Log = id, r.logger
	other := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		other.Serve(ctx)
	}()
	r.t.Cleanup(func() {
		cancel()
		<-done
	})
	if err := session.WaitStreams(r.t.Context(), 1); err != nil {
		r.t.Fatal(err)
	}
	return session
}

package discovery

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.uber.org/goleak"

	"toolhand/internal/registry"
	"toolhand/internal/testkit"
	"toolhand/internal/tools"
)

func TestMain(m *testing.M) {
	testkit.SideBySide(8) // they wait for answers
	goleak.VerifyTestMain(m)
}

// rig is a NATS server, and a connection of the one who asks.
type rig struct {
	t   *testing.T
	srv *server.Server
	nc  *nats.Conn
}

func newRig(t *testing.T) *rig {
	t.Helper()
	t.Parallel() // each has a server of its own
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
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
	nc, err := nats.Connect(r.srv.ClientURL(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(nc.Close)
	return nc
}

func about(name, schema string) map[string]string {
	return map[string]string{"toolhand.tool": name, "toolhand.description": "Does " + name + ".", "toolhand.input_schema": schema}
}

const anything = `{"type":"object"}`

// service offers tools, each on a subject of its own, and answers with its input.
func (r *rig) service(nc *nats.Conn, name string, tools ...map[string]string) {
	r.t.Helper()
	s, err := micro.AddService(nc, micro.Config{Name: name, Version: "1.0.0"})
	if err != nil {
		r.t.Fatal(err)
	}
	for i, meta := range tools {
		if err := s.AddEndpoint(fmt.Sprintf("e%d", i), micro.HandlerFunc(func(req micro.Request) { _ = req.Respond(req.Data()) }),
			micro.WithEndpointSubject(fmt.Sprintf("%s.e%d", name, i)), micro.WithEndpointMetadata(meta)); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil { // the server knows its subscriptions
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = s.Stop() })
}

// registry takes all tools that are announced, and calls them by the rig's connection.
func (r *rig) registry() *registry.Registry {
	r.t.Helper()
	reg, err := registry.Open(registry.Options{Dir: r.t.TempDir(), Discover: registry.Discover{All: true},
		Dependencies: registry.Dependencies{NATS: func() (*nats.Conn, error) { return r.nc, nil }}})
	if err != nil {
		r.t.Fatal(err)
	}
	return reg
}

func (r *rig) ask(window time.Duration) registry.Round {
	r.t.Helper()
	round, err := Ask(r.t.Context(), r.nc, window)
	if err != nil {
		r.t.Fatal(err)
	}
	return round
}

func call(t *testing.T, reg *registry.Registry, name string) string {
	t.Helper()
	tool, ok := reg.Set().Lookup(name)
	if !ok {
		return "unknown tool"
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := tool.Handler.Call(ctx, tools.Call{ID: "sevt_1", Tool: name, Session: "sesn_1", Input: json.RawMessage(`{"a":1}`), Deadline: time.Now().Add(10 * time.Second)})
	if err != nil {
		return err.Error()
	}
	return string(r.Content)
}

// TestManyServices: 1,000 tools that 50 services announce, each with a connection of
// its own, are in force 10 s after the watch began, and each is called on the subject
// of its own endpoint.
func TestManyServices(t *testing.T) {
	r := newRig(t)
	reg := r.registry()
	const services, each = 50, 20
	for s := range services {
		var all []map[string]string
		for i := range each {
			all = append(all, about(fmt.Sprintf("tool_%d_%d", s, i), `{"type":"object","properties":{"a":{"type":"integer"}}}`))
		}
		r.service(r.connect(), fmt.Sprintf("service%d", s), all...)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	swapped := make(chan struct{}, 100)
	w := &Watch{Ask: func(ctx context.Context, window time.Duration) (registry.Round, error) { return Ask(ctx, r.nc, window) },
		Take: reg.Announce, Swapped: func() { swapped <- struct{}{} }, Log: slog.New(slog.DiscardHandler)}
	begin := time.Now()
	wg.Go(func() { w.Run(ctx) })
	defer wg.Wait()
	defer stop()
	for reg.Set().Announced() < services*each {
		select {
		case <-swapped:
		case <-time.After(10*time.Second - time.Since(begin)):
			t.Fatalf("%d tools are there after 10 s", reg.Set().Announced())
		}
	}
	t.Logf("%d tools after %s", reg.Set().Announced(), time.Since(begin))
	for s := range services {
		if got := call(t, reg, fmt.Sprintf("tool_%d_%d", s, s%each)); !strings.Contains(got, `{\"a\":1}`) {
			t.Errorf("service %d: %s", s, got)
		}
	}
}

// TestArrivalAndDeparture asks by hand what Run asks by the clock: a service comes,
// stops without a word and comes back.
func TestArrivalAndDeparture(t *testing.T) {
	r := newRig(t)
	reg := r.registry()
	round := func() { reg.Announce(r.ask(500 * time.Millisecond)) }
	if round(); reg.Set().Announced() != 0 {
		t.Error("a tool is there that nobody announced")
	}
	nc := r.connect()
	r.service(nc, "weather", about("forecast", anything), map[string]string{"other": "no tool"})
	if round(); reg.Set().Announced() != 1 || !strings.Contains(call(t, reg, "forecast"), "1") {
		t.Errorf("announced: %d, %s", reg.Set().Announced(), call(t, reg, "forecast"))
	}
	nc.Close()
	if round(); reg.Set().Announced() != 1 {
		t.Error("gone after one silent round")
	}
	if round(); reg.Set().Announced() != 0 {
		t.Error("there after two silent rounds")
	}
	if got := call(t, reg, "forecast"); !strings.Contains(got, "no service announces it any more") {
		t.Errorf("gone: %s", got)
	}
	r.service(r.connect(), "weather", about("forecast", anything))
	if round(); !strings.Contains(call(t, reg, "forecast"), "1") {
		t.Errorf("back: %s", call(t, reg, "forecast"))
	}
}

// TestGarbageAnswers: whoever answers with garbage harms nobody else, and is told.
func TestGarbageAnswers(t *testing.T) {
	r := newRig(t)
	reg := r.registry()
	bad := r.connect()
	answers := []string{"", "no JSON", `[]`, `{"name":"x","id":"y","endpoints":"none"}`, `{"name":"two words","id":"y"}`,
		`{"name":"big","id":"y","more":"` + strings.Repeat("x", 900<<10) + `"}`, `{"name":"x","id":"y","endpoints":[{"name":"e","subject":"a.*","metadata":{"toolhand.tool":"wild","toolhand.input_schema":"{}"}}]}`}
	if _, err := bad.Subscribe("$SRV.INFO", func(m *nats.Msg) {
		for _, a := range answers {
			_ = m.Respond([]byte(a))
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := bad.Flush(); err != nil {
		t.Fatal(err)
	}
	r.service(r.connect(), "good", about("fine", anything), about("bad name", anything), about("no_schema", `{"type":`))
	round := r.ask(time.Second)
	if len(round.Problems) < 4 {
		t.Errorf("problems: %q", round.Problems)
	}
	for _, p := range round.Problems {
		if len(p) > 1000 {
			t.Errorf("a problem is told in %d bytes", len(p))
		}
	}
	if reg.Announce(round); reg.Set().Announced() != 1 || !strings.Contains(call(t, reg, "fine"), "1") {
		t.Errorf("%d tools, %s", reg.Set().Announced(), call(t, reg, "fine"))
	}
}

// TestEndlessAnswers: one who never stops answering costs a round and bounded memory,
// and the round says that it is not all.
func TestEndlessAnswers(t *testing.T) {
	r := newRig(t)
	flood := r.connect()
	var wg sync.WaitGroup
	quit := make(chan struct{})
	if _, err := flood.Subscribe("$SRV.INFO", func(m *nats.Msg) {
		wg.Go(func() {
			answer := []byte(`{"name":"x","id":"y"}`)
			for {
				select {
				case <-quit:
					return
				default:
					_ = flood.Publish(m.Reply, answer)
				}
			}
		})
	}); err != nil {
		t.Fatal(err)
	}
	if err := flood.Flush(); err != nil {
		t.Fatal(err)
	}
	defer wg.Wait()
	defer close(quit)
	begin := time.Now()
	round := r.ask(5 * time.Second)
	if !round.Partial || len(round.Problems) == 0 {
		t.Errorf("partial %t, problems %q", round.Partial, round.Problems)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("a round of 5 s took %s", took)
	}
}

// TestNATSIsAway: without the server nothing is known, and that is said once.
func TestNATSIsAway(t *testing.T) {
	r := newRig(t)
	r.nc.Close()
	if _, err := Ask(t.Context(), r.nc, time.Second); err == nil {
		t.Error("a round without a connection")
	}
	var log strings.Builder
	taken := 0
	w := &Watch{Ask: func(ctx context.Context, window time.Duration) (registry.Round, error) { return Ask(ctx, r.nc, window) },
		Take: func(registry.Round) bool { taken++; return true }, Log: slog.New(slog.NewTextHandler(&log, nil))}
	w.once(t.Context())
	w.once(t.Context())
	if n := strings.Count(log.String(), "can't be asked"); n != 1 || taken != 0 {
		t.Errorf("told %d times, %d rounds taken:\n%s", n, taken, &log)
	}
	r.nc = r.connect()
	w.once(t.Context())
	if taken != 1 || !strings.Contains(log.String(), "asked for tools again") {
		t.Errorf("%d rounds taken:\n%s", taken, &log)
	}
}

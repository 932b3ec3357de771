package shipped

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/fleet"
	"toolhand/internal/gcfloor"
	"toolhand/internal/journal"
	"toolhand/internal/loop"
	"toolhand/internal/loop/slots"
	"toolhand/internal/registry"
	"toolhand/internal/telemetry"
	"toolhand/internal/tools"
	"toolhand/internal/upstream"
)

// Options are what differs between two workers of the benchmark.
type Options struct {
	URL string
	// Journal is off, interval or always.
	Journal string
	// StoreDir is where the journal is kept, where it is on.
	StoreDir string
	// Tools are the names of the tools; Run is what each does.
	Tools []string
	Run   func(name string, input []byte) string
	// Log gets what the worker logs, as JSON from info on: the defaults.
	Log io.Writer
}

// Worker is a worker that serves.
type Worker struct {
	client  *upstream.Client
	set     *registry.Set
	slots   *slots.Slots
	crew    *loop.Crew
	journal loop.Journal
	fleet   *fleet.Fleet
	bus     *bus.Bus
	log     *slog.Logger
	left    chan int
	stop    context.CancelFunc
}

// Start makes a worker and lets its fleet serve. It has no sessions yet.
func Start(ctx context.Context, o Options) (*Worker, error) {
	gcfloor.Set(gcfloor.Size)
	log, err := telemetry.NewLogger(telemetry.Redact(o.Log, &telemetry.Secrets{}), "info", "json", false)
	if err != nil {
		return nil, err
	}
	w := &Worker{log: log, slots: slots.New(64), crew: loop.NewCrew(), left: make(chan int, 1)}
	// As the defaults of worker.yaml say, without a budget.
	w.client, err = upstream.New(upstream.Options{
		BaseURL: o.URL, Credential: upstream.Credential{APIKey: "any"}, UserAgent: "toolhand/bench", Log: log,
	})
	if err != nil {
		return nil, err
	}
	if err := w.makeTools(o); err != nil {
		return nil, err
	}
	if err := w.openJournal(ctx, o); err != nil {
		return nil, err
	}
	w.fleet = fleet.New(fleet.Config{New: w.session, Log: log})
	drain, stop := context.WithCancel(ctx)
	w.stop = stop
	go func() { w.left <- w.fleet.Serve(drain, ctx, 10*time.Second) }()
	return w, nil
}

func (w *Worker) makeTools(o Options) error {
	var list []*registry.Tool
	for _, name := range o.Tools {
		t, err := registry.NewTool(registry.Spec{
			Name: name, Handler: function(func(input []byte) string { return o.Run(name, input) }),
			InputSchema: json.RawMessage(`{"type":"object","properties":{"path":{"type":"string"},"verbose":{"type":"boolean"}},"required":["path"]}`),
		})
		if err != nil {
			return err
		}
		list = append(list, t)
	}
	w.set = registry.NewSet(list...)
	return nil
}

// function is a handler in this process.
type function func(input []byte) string

// Call implements tools.Handler.
func (f function) Call(_ context.Context, c tools.Call) (tools.Result, error) {
	return tools.Text(f(c.Input)), nil
}

func (w *Worker) openJournal(ctx context.Context, o Options) error {
	opts := bus.Options{StoreDir: o.StoreDir, Log: w.log}
	switch o.Journal {
	case "off":
		w.journal = &journal.Memory{}
		return nil
	case "interval":
		opts.SyncInterval = time.Second
	case "always":
	default:
		return fmt.Errorf("journal %q is none of off, interval and always", o.Journal)
	}
	b, err := bus.Open(ctx, opts)
	if err != nil {
		return err
	}
	j, err := journal.Open(ctx, b.JetStream(), journal.Options{Sole: true, Writable: b.Healthy, Log: w.log})
	if err != nil {
		return err
	}
	w.bus, w.journal = b, j
	return nil
}

func (w *Worker) session(id string, _ bool) fleet.Session {
	return loop.New(loop.Config{
		Settings: loop.Settings{
			Session: id, Owner: "bench", Linger: 250 * time.Millisecond, Reconcile: 5 * time.Minute,
			Lookup: w.set.Lookup,
			Jitter: func(d time.Duration) time.Duration { return d/2 + mathrand.N(d/2+1) },
		},
		Client: w.client, Slots: w.slots, Crew: w.crew, Journal: w.journal, Log: w.log,
	})
}

// Attach serves a session from now on.
func (w *Worker) Attach(ctx context.Context, id string) error { return w.fleet.Attach(ctx, id, true) }

// Close drains and closes the journal.
func (w *Worker) Close() error {
	w.stop()
	<-w.left
	w.client.Close()
	w.crew.Close()
	if w.bus == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return w.bus.Close(ctx)
}

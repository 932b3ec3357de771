package shipped

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"toolhand/internal/config"
	"toolhand/internal/registry"
	"toolhand/internal/telemetry"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	"toolhand/internal/worker"
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
	*worker.Worker
	drain  context.CancelFunc
	served chan error
}

// Start opens a worker and lets it serve. It has no sessions yet.
func Start(ctx context.Context, o Options) (*Worker, error) {
	cfg := config.Default()
	cfg.Upstream.BaseURL, cfg.Upstream.RequestsPerMinute = o.URL, 0
	cfg.Admin.Listen, cfg.Sessions.MaxActive = "", 0
	cfg.NATS.StoreDir = o.StoreDir
	cfg.Shutdown.Grace = config.Duration(10 * time.Second)
	forgets := false
	switch o.Journal {
	case "off":
		forgets = true
	case config.SyncInterval, config.SyncAlways:
		cfg.Journal.Sync = o.Journal
	default:
		return nil, fmt.Errorf("journal %q is none of off, interval and always", o.Journal)
	}
	secrets := &telemetry.Secrets{}
	log, err := telemetry.NewLogger(telemetry.Redact(o.Log, secrets), cfg.Log.Level, "json", false)
	if err != nil {
		return nil, err
	}
	set, err := toolsOf(o)
	if err != nil {
		return nil, err
	}
	w, err := worker.Open(ctx, &cfg, worker.Options{
		Purpose: worker.Sessions, Version: "bench", Log: log, Secrets: secrets, Tools: set, Forgets: forgets,
		LookupEnv: func(name string) (string, bool) { return "any", name == "ANTHROPIC_API_KEY" },
	})
	if err != nil {
		return nil, err
	}
	drain, stop := context.WithCancel(ctx)
	started := &Worker{Worker: w, drain: stop, served: make(chan error, 1)}
	go func() {
		_, err := w.Serve(drain, ctx)
		started.served <- err
	}()
	return started, nil
}

func toolsOf(o Options) (*registry.Set, error) {
	var list []*registry.Tool
	for _, name := range o.Tools {
		t, err := registry.NewTool(registry.Manifest{
			Name: name, Handler: function(func(input []byte) string { return o.Run(name, input) }),
			InputSchema: json.RawMessage(`{"type":"object","properties":{"path":{"type":"string"},"verbose":{"type":"boolean"}},"required":["path"]}`),
		})
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return registry.NewSet(list...), nil
}

// function is a handler in this process.
type function func(input []byte) string

// Call implements tools.Handler.
func (f function) Call(_ context.Context, c tools.Call) (tools.Result, error) {
	return content.Text(f(c.Input)), nil
}

// Close drains, and closes what is open.
func (w *Worker) Close() error {
	w.drain()
	if err := <-w.served; err != nil {
		return err
	}
	return w.Worker.Close()
}

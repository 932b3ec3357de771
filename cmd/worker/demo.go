package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"toolhand/internal/config"
	"toolhand/internal/sim"
	"toolhand/internal/worker"
)

type demoCmd struct {
	ToolsDir string `help:"Folder of the tools' manifests (default: ./tools.d, or the built-in examples)." placeholder:"DIR"`
	Keep     bool   `help:"Keep running at the end, to be looked at."`
	Verbose  bool   `help:"Show the worker's log too."`
}

// Help is the long help.
func (demoCmd) Help() string {
	return `A simulated API plays the session of a coding agent; the worker serves it with the example tools, by the same code as 'worker run'.

Examples:

  worker demo
  worker demo --keep
`
}

// demoTimeout bounds the session that is played.
const demoTimeout = 2 * time.Minute

// Run plays the demo.
func (c demoCmd) Run(p *process) error {
	return underSignals(p, false, func(s *signals) error { return c.run(p, s) })
}

func (c demoCmd) run(p *process, signals *signals) (err error) {
	dir, remove, err := c.tools()
	if err != nil {
		return err
	}
	defer remove()
	store, err := os.MkdirTemp("", "toolhand-demo-store-")
	if err != nil {
		return fmt.Errorf("the journal needs a folder: %w", err)
	}
	defer os.RemoveAll(store)
	script, err := sim.DemoScript()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(p.ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop(nil)
	defer context.AfterFunc(signals.stop, func() { stop(errDemoInterrupted) })()
	show := newShow(p.stdout, func(err error) { stop(fmt.Errorf("the demo has nowhere to print: %w", err)) })
	api := sim.New(sim.Options{OnEvent: show.event, OnRequest: show.request})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("the simulated API needs a port on loopback: %w", err)
	}
	web := &http.Server{Handler: api, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	beside.Go(func() { _ = web.Serve(ln) }) // until Close
	defer func() { api.Close(); _ = web.Close() }()
	api.Prepare(script)

	cfg := config.Default()
	cfg.Upstream.BaseURL, cfg.Tools.Dir, cfg.Admin.Listen = "http://"+ln.Addr().String(), dir, "127.0.0.1:0"
	cfg.NATS.StoreDir, cfg.Sessions.IDs = store, []string{script.Session}
	opts, err := c.options(p, cfg.Log)
	if err != nil {
		return err
	}
	opts.Report = show.report
	w, err := openWorker(signals, &cfg, opts)
	if errors.Is(err, errStopped) {
		return errDemoInterrupted
	}
	if err != nil {
		return err
	}
	defer w.Close()
	show.printf("toolhand demo: a coding agent's session, played by a simulated API at\n%s, served by the worker with %d tools of %s\n\n",
		cfg.Upstream.BaseURL, len(w.Set().Tools()), c.shown(dir))
	return c.play(ctx, w, api, script, show)
}

// options are those of a worker that knows no credential of the user.
func (c demoCmd) options(p *process, log config.Log) (worker.Options, error) {
	opts, err := p.options(log)
	if !c.Verbose {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	opts.Purpose = worker.Sessions
	opts.LookupEnv = func(name string) (string, bool) {
		switch {
		case name == "ANTHROPIC_API_KEY":
			return "demo-key", true
		case strings.HasPrefix(name, "ANTHROPIC_"):
			return "", false
		}
		return p.lookupEnv(name)
	}
	return opts, err
}

var errDemoInterrupted = errors.New("the demo was interrupted")

// play runs worker and script beside each other until the script is at its end,
// and the worker has drained.
func (c demoCmd) play(ctx context.Context, w *worker.Worker, api *sim.Server, script *sim.Script, show *show) error {
	drain, drained := context.WithCancel(context.WithoutCancel(ctx))
	defer drained()
	left := make(chan int)
	go func() {
		n, _ := w.Serve(drain, ctx) // an error is what ended ctx
		left <- n
	}()

	bounded, cancel := context.WithTimeout(ctx, demoTimeout)
	err := api.Play(bounded, script)
	cancel()
	kept := false
	if err == nil && c.Keep {
		show.printf("\nkept running: the API at %s, the worker's status at http://%s/api/v1/status; Ctrl-C ends it\n",
			w.Config().Upstream.BaseURL, w.Admin())
		<-ctx.Done()
		kept = errors.Is(context.Cause(ctx), errDemoInterrupted)
	}
	drained()
	n := <-left
	if ctx.Err() != nil && !kept {
		return context.Cause(ctx)
	}
	show.table(w.Requests(), n)
	if err != nil {
		return fmt.Errorf("the session did not go as its script says: %w", err)
	}
	return nil
}

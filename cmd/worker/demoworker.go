package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"toolhand/internal/config"
	"toolhand/internal/loop/run"
	"toolhand/internal/worker"
)

// news is a line that the demo's worker prints for the demo: one of its fields.
type news struct {
	// Admin is the admin address. The worker is open.
	Admin string `json:",omitempty"`
	// Ended is a call that has ended.
	Ended *endedCall `json:",omitempty"`
}

// endedCall is what the demo shows of a call that has ended.
type endedCall struct {
	ID, Tool string
	Outcome  run.Outcome
	Took     time.Duration
	Content  json.RawMessage
}

// beWorker serves the demo's session in a process of its own, which can be killed. It
// drains at the end of its standard input, which comes with the end of the demo
// however that ends; a signal stops it at once.
func (c demoCmd) beWorker(p *process, s *signals) error {
	cfg, err := config.Load(c.AsWorker)
	if err != nil {
		return err
	}
	opts, err := c.options(p, cfg.Log)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	lines := json.NewEncoder(p.stdout) // guarded by mu
	tell := func(n news) {
		mu.Lock()
		defer mu.Unlock()
		_ = lines.Encode(n) // a demo that has gone ends our input
	}
	opts.Report = func(r run.Report) {
		tell(news{Ended: &endedCall{r.ID, r.Tool, r.Outcome, took(r), r.Result.Content}})
	}
	w, err := openWorker(s, cfg, opts)
	if errors.Is(err, errStopped) {
		return nil
	}
	if err != nil {
		return err
	}
	defer w.Close()
	tell(news{Admin: w.Admin().String()})
	drain, drained := context.WithCancel(context.Background())
	defer drained()
	go func() {
		_, _ = io.Copy(io.Discard, p.stdin)
		drained()
	}()
	_, err = w.Serve(drain, s.stop)
	if s.stop.Err() != nil {
		return nil
	}
	return err
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

// took is how long a tool ran, or a call without a tool took to be answered.
func took(r run.Report) time.Duration {
	if r.Phases.Run > 0 {
		return r.Phases.Run
	}
	return r.Duration
}

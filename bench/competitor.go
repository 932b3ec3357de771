package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"toolhand/bench/control"
	"toolhand/bench/limit"
	"toolhand/bench/sdkrunner"
	"toolhand/bench/shipped"
	"toolhand/bench/stage"
)

// role is what a competitor is started with.
type role struct {
	// Kind is limit, sdk or worker.
	Kind string `json:"kind"`
	// Journal is the worker's.
	Journal  string `json:"journal,omitempty"`
	StoreDir string `json:"store_dir,omitempty"`
	URL      string `json:"url"`
}

// The tools of all competitors.
const (
	noop    = "noop" // answers at once
	slow    = "slow" // answers after slowFor
	slowFor = 200 * time.Millisecond
)

// runTool is what the tools of all competitors do.
func runTool(name string, _ []byte) string {
	if name == slow {
		time.Sleep(slowFor)
	}
	return "42 passed, 0 failed in 1.25s"
}

// compete is the process of one competitor. It serves sessions when it is asked
// to, until its input ends.
func compete(args string) error {
	var r role
	if err := json.Unmarshal([]byte(args), &r); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	serve, end, err := r.begin(ctx)
	if err != nil {
		return err
	}
	served := 0
	err = control.Serve(os.Stdin, os.Stdout, control.Actions{
		"serve": control.Action(func(n int) (any, error) {
			for ; served < n; served++ {
				if err := serve(stage.ID(served)); err != nil {
					return nil, err
				}
			}
			return nil, nil
		}),
	})
	return errors.Join(err, end())
}

// begin makes the competitor: serve adds a session, end ends it all in order.
func (r role) begin(ctx context.Context) (serve func(id string) error, end func() error, err error) {
	var ending atomic.Bool
	beside := func(id string, f func() error) {
		go func() {
			// A session that is lost spoils the figures: end at once.
			if err := f(); !ending.Load() {
				fmt.Fprintf(os.Stderr, "bench: session %s: %v\n", id, err)
				os.Exit(1)
			}
		}()
	}
	done := func() error { ending.Store(true); return nil }
	switch r.Kind {
	case "limit":
		c := &limit.Client{URL: r.URL, Streams: pooled(), Requests: pooled(), Tool: runTool}
		return func(id string) error { beside(id, func() error { return c.Serve(id) }); return nil }, done, nil
	case "sdk":
		c := sdkrunner.New(r.URL, pooled(), []string{noop, slow}, runTool, slog.New(slog.NewTextHandler(os.Stderr, nil)))
		return func(id string) error { beside(id, func() error { return c.Serve(ctx, id) }); return nil }, done, nil
	case "worker":
		w, err := shipped.Start(ctx, shipped.Options{
			URL: r.URL, Journal: r.Journal, StoreDir: r.StoreDir, Tools: []string{noop, slow}, Run: runTool, Log: os.Stderr,
		})
		if err != nil {
			return nil, nil, err
		}
		return func(id string) error { _, err := w.Attach(ctx, id); return err }, w.Close, nil
	}
	return nil, nil, fmt.Errorf("no competitor is called %q", r.Kind)
}

// pooled is an HTTP client whose pool never runs dry.
func pooled() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, 1024
	t.DisableCompression = true
	return &http.Client{Transport: t}
}

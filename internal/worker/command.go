package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"toolhand/internal/document"
	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
)

const (
	// liveTimeout bounds the question to one handler, in wall clock.
	liveTimeout = 5 * time.Second
	// liveAtOnce is how many are asked at once.
	liveAtOnce = 16
)

// load loads the tools of a Command, and waits for MCP servers to list theirs: for those
// alone that may have a certain tool, where one is named.
func (w *Worker) load(wait time.Duration, tool string) error {
	opts := w.loads
	opts.Wait, opts.WaitFor = wait, tool
	set, err := registry.Load(opts)
	if err == nil {
		w.set = set
	}
	return err
}

// Missing is an error where the tools of some MCP server are not known.
func (w *Worker) Missing() error { return errors.Join(w.Set().Missing()...) }

// Find makes sure that a tool is known to a Command: where it is not yet, the MCP servers
// that may have it list their tools, and services are asked for theirs. Errors:
// [UsageError] where nobody has it, or why somebody can't be asked.
func (w *Worker) Find(ctx context.Context, name string) error {
	if w.Set().Groups() > 0 && !slices.Contains(w.names(), name) {
		if err := w.load(ListWait, name); err != nil {
			return err
		}
	}
	if !slices.Contains(w.names(), name) {
		if err := w.Discover(ctx); err != nil {
			return err
		}
	}
	if _, ok := w.lookup(name); !ok { // one that is unavailable is found too
		return Usagef("unknown tool %q%s; there are: %s", name, document.Nearest(name, w.names()), strings.Join(w.names(), ", "))
	}
	return nil
}

// names are the names of the tools in force, sorted.
func (w *Worker) names() []string {
	var all []string
	for _, t := range w.Set().Tools() {
		all = append(all, t.Name)
	}
	slices.Sort(all)
	return all
}

// Call runs a tool once by the same path as a session's call, with a journal in
// memory; see [run.Once].
func (w *Worker) Call(ctx context.Context, name string, input json.RawMessage) (run.Report, error) {
	return run.CallOnce(ctx, w.log, w.Set(), name, input)
}

// Live asks each handler of the tools whether its other end is there. The error at a
// tool's place is why not, or [tools.ErrNotTold]; nil: it is there.
func Live(ctx context.Context, list []*registry.Tool) []error {
	said := make([]error, len(list))
	room := make(chan struct{}, liveAtOnce)
	var all sync.WaitGroup
	for i, t := range list {
		room <- struct{}{}
		all.Go(func() {
			said[i] = isLive(ctx, t)
			<-room
		})
	}
	all.Wait()
	return said
}

func isLive(ctx context.Context, t *registry.Tool) error {
	asked, ok := t.Handler.(tools.Live)
	if !ok {
		return fmt.Errorf("%w: nobody knows how to ask a handler of kind %s", tools.ErrNotTold, t.Kind)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, liveTimeout, fmt.Errorf("no answer within %s", liveTimeout))
	defer cancel()
	return asked.Live(ctx)
}

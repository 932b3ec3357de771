package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"text/tabwriter"
	"time"

	"toolhand/internal/registry"
	"toolhand/internal/tools"
)

const (
	// liveTimeout bounds the question to one handler, in wall clock.
	liveTimeout = 5 * time.Second
	// liveAtOnce is how many are asked at once.
	liveAtOnce = 16
)

// errNotThere is why `tools check --live` fails; it has said which.
var errNotThere = errors.New("not every handler is there")

// checkLive asks each handler whether its other end is there, and prints what
// each said.
func checkLive(ctx context.Context, out io.Writer, list []*registry.Tool) error {
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
	var failed error
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, t := range list {
		text := "there"
		switch err := said[i]; {
		case errors.Is(err, tools.ErrNotTold):
			text = err.Error()
		case err != nil:
			text, failed = "not there: "+err.Error(), errNotThere
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", t.Name, t.Kind, text)
	}
	return errors.Join(w.Flush(), failed)
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

package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// purgers is how many entries are forgotten at once, where they go one by one.
const purgers = 8

// Forget drops the entries of calls of a session, as they are known here: what
// another owner has written since stays. One that is not there is no error. An
// error: each of them may or may not be there, and Forget may be called again.
//
// Nothing is left of a dropped entry, no marker either. Several that are older than all
// else of their session go in one request, where [Options.Sole] is set.
func (j *Journal) Forget(ctx context.Context, session string, calls ...string) error {
	ctx, cancel := j.bound(ctx)
	defer cancel()
	keys := make([]string, 0, len(calls))
	for _, call := range calls {
		keys = append(keys, key(session, call))
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	if j.opts.Sole && len(keys) > 1 {
		if upTo, ok := j.writes.together(token(session), keys); ok {
			return j.purge(ctx, token(session)+".*", upTo, keys...)
		}
	}
	if len(keys) == 1 {
		return j.forget(ctx, keys[0])
	}
	errs := make([]error, len(keys))
	slots := make(chan struct{}, purgers)
	var all sync.WaitGroup
	for i, k := range keys {
		slots <- struct{}{} // each of those before it ends with ctx
		all.Go(func() {
			errs[i] = j.forget(ctx, k)
			<-slots
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// forget drops one entry, up to the revision that is known.
func (j *Journal) forget(ctx context.Context, k string) error {
	revision := j.writes.revision(k)
	if revision == 0 {
		// The outcome of a write is not known, or the entry is from before
		// our time.
		e, found, err := j.read(ctx, k)
		if err != nil {
			return fmt.Errorf("journal: %w", because(ctx, err))
		}
		if !found {
			j.writes.drop(k)
			return nil
		}
		revision = e.Revision
	}
	return j.purge(ctx, k, revision, k)
}

// purge drops what stands at a subject, up to a revision. It may be done late,
// when its request is long given up: that bound keeps it off what was written
// since.
func (j *Journal) purge(ctx context.Context, subject string, last uint64, keys ...string) error {
	if err := j.leave(keys...); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	err := j.stream.Purge(ctx, jetstream.WithPurgeSubject(j.prefix+subject), jetstream.WithPurgeSequence(last+1))
	err = because(ctx, err)
	j.note(err)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.writes.drop(keys...)
	return nil
}

package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Aged is an entry that [Journal.Expire] took room from.
type Aged struct {
	// Entry is what it was, without its content.
	Entry Entry
	// Written is when it was last written, by the server's clock.
	Written time.Time
	// Bytes is the size of the content that is gone.
	Bytes int
	// Dropped reports that nothing is left of it. Else its call stays set
	// aside, without the result that can't be sent.
	Dropped bool
}

// Expire bounds by age what will never be sent. Of the entries that were last
// written before a time it drops those of sessions that are over, and takes the
// content from those that are set aside: they stay, so that their calls are not
// run again. Nothing else ever expires.
//
// over is asked once for each session with such an entry; it may be long about it.
// Without a deadline, ctx bounds nothing here but each request. What was done
// before an error is returned with it.
func (j *Journal) Expire(ctx context.Context, before time.Time, over func(session string) bool) ([]Aged, error) {
	once, cancel := j.bound(ctx)
	info, err := j.stream.Info(once)
	err = because(once, err)
	cancel()
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if info.State.Msgs == 0 || !info.State.FirstTime.Before(before) {
		return nil, nil // the oldest of all is younger
	}
	once, cancel = j.bound(ctx)
	keys, err := j.keys(once, "*.*")
	cancel()
	if err != nil {
		return nil, err
	}
	var done []Aged
	known := map[string]bool{}
	for _, k := range keys {
		a, err := j.expire(ctx, k, before, func(session string) bool {
			is, asked := known[session]
			if !asked {
				is = over(session)
				known[session] = is
			}
			return is
		})
		if err != nil {
			return done, err
		}
		if a != nil {
			done = append(done, *a)
		}
	}
	return done, nil
}

// expire looks at one entry. Nil: it stays as it is.
func (j *Journal) expire(ctx context.Context, k string, before time.Time, over func(session string) bool) (*Aged, error) {
	e, written, err := j.readAged(ctx, k)
	if err != nil || written.IsZero() || !written.Before(before) {
		return nil, err
	}
	a := &Aged{Entry: e, Written: written, Bytes: len(e.Content)}
	a.Entry.Content = nil
	if over(e.Session) {
		a.Dropped = true
		ctx, cancel := j.bound(ctx)
		defer cancel()
		return a, j.purge(ctx, k, e.Revision, k)
	}
	if e.Quarantined == "" || len(e.Content) == 0 {
		return nil, nil
	}
	moved := errors.New("it was written meanwhile")
	_, err = j.write(ctx, a.Entry, e.Revision, func(Entry) (uint64, bool, error) { return 0, false, moved })
	if errors.Is(err, moved) {
		return nil, nil
	}
	return a, err
}

// readAged reads an entry and when it was written: never, where there is none or
// it is not for us to judge.
func (j *Journal) readAged(ctx context.Context, k string) (Entry, time.Time, error) {
	ctx, cancel := j.bound(ctx)
	defer cancel()
	m, err := j.stream.GetLastMsgForSubject(ctx, j.prefix+k)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Entry{}, time.Time{}, nil
	}
	if err != nil {
		return Entry{}, time.Time{}, fmt.Errorf("journal: %w", because(ctx, err))
	}
	e, found, err := j.entry(k, m)
	if errors.Is(err, ErrNewer) || err == nil && !found {
		return Entry{}, time.Time{}, nil
	}
	return e, m.Time, err
}

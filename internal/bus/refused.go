package bus

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// refusedFor is how long writes may be refused before [Bus.Watch] returns: an
// embedded store that was full stays shut until its server is started anew, and a
// bucket that was deleted does not come back.
const refusedFor = time.Minute

// Watch waits until writes have been refused for a minute, and returns why, or nil
// at the end of ctx. refused says why they are refused now, nil where they succeed;
// where it does not know, what it said last holds on. A store whose room is short,
// and that takes writes, is none that refuses them: to open it anew would mend
// nothing.
func (b *Bus) Watch(ctx context.Context, refused func(context.Context) (known bool, why error)) error {
	tick := time.NewTicker(refusedFor / 12)
	defer tick.Stop()
	var since time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		known, err := refused(ctx)
		if !known {
			continue
		}
		if health := b.Healthy(); err == nil && b.Embedded() && !errors.Is(health, ErrLowSpace) {
			err = health
		}
		switch {
		case err == nil:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
			b.log.Error("the journal can't be written: tools that must not run twice are not started", "error", err)
		case time.Since(since) > refusedFor && ctx.Err() == nil:
			return fmt.Errorf("the journal can't be written since %s: %w", since.Format(time.RFC3339), err)
		}
	}
}

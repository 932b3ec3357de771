package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/fleet"
	"toolhand/internal/loop"
)

// doubts knows which sessions have calls that may have been started before the
// journal was damaged. Its zero value knows of no damage.
type doubts struct {
	mu sync.Mutex
	// quiet are sessions that were served since the damage, and left with nothing
	// open: what they call later was not there before. Guarded by mu; as many as
	// are served until a time of the API is known that tells it of all sessions.
	quiet map[string]struct{}
}

// of reports whether a session is to be doubted, and until when by the API's clock;
// zero: that is not known yet.
func (d *doubts) of(b *bus.Bus, session string) (doubt bool, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	damage, marked := b.Damage()
	if !marked || !damage.Until.IsZero() {
		d.quiet = nil
		return marked, damage.Until
	}
	_, quiet := d.quiet[session]
	return !quiet, time.Time{}
}

func (d *doubts) left(session string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.quiet == nil {
		d.quiet = map[string]struct{}{}
	}
	d.quiet[session] = struct{}{}
}

// doubtedSession is a session that is served while the store is marked.
type doubtedSession struct {
	fleet.Session
	id     string
	doubts *doubts
}

// Serve implements [fleet.Session].
func (s doubtedSession) Serve(ctx context.Context) loop.Reason {
	reason := s.Session.Serve(ctx)
	if reason == loop.ReasonIdle {
		s.doubts.left(s.id)
	}
	return reason
}

// Damage is the mark of a store that was damaged.
type Damage struct {
	// Found is when the damage was found, by this machine's clock of then.
	Found time.Time `json:"found"`
	// DoubtedFor is how much longer calls are doubted while a worker runs.
	DoubtedFor string `json:"doubted_for"`
}

// damageOf is the mark of the store; nil: it bears none.
func damageOf(b *bus.Bus) *Damage {
	d, marked := b.Damage()
	if !marked {
		return nil
	}
	return &Damage{Found: d.Found, DoubtedFor: max(d.Left.Round(time.Second), time.Second).String()}
}

// String says what it means, and what ends it.
func (d *Damage) String() string {
	return fmt.Sprintf("was damaged, found %s: open calls that a session has at its attach are not run again for another %s, where their tool is not idempotent (worker journal trust clears that)",
		d.Found.Format(time.RFC3339), d.DoubtedFor)
}

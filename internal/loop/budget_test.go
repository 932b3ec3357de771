package loop

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"toolhand/internal/sim"
)

// With little budget a session's attach (its stream, then its history) is one unit:
// the first sessions answer their open calls before the last ones have a stream, and
// each has its turn.
func TestAttachIsOneUnitOfTheBudget(t *testing.T) {
	const sessions = 30
	before := func(o *options) {
		o.lateStart = true
		o.client.RequestsPerMinute = 20
	}
	scenario(t, before, func(t *testing.T, r *rig) {
		n := r.counted("a")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		all := make([]*sim.Session, sessions)
		calls := make([]string, sessions)
		for i := range all {
			id := fmt.Sprintf("sesn_%d", i)
			all[i] = r.sim.NewSession(sim.SessionSpec{ID: id})
			calls[i] = all[i].CallTool("a", `{}`)
			all[i].RequireAction()
			cfg := r.served.cfg
			cfg.Session, cfg.Log = id, r.logger
			s := New(cfg)
			wg.Go(func() { s.Serve(ctx) })
		}
		answered := func() (n int) {
			for i, s := range all {
				if _, ok := s.Result(calls[i]); ok {
					n++
				}
			}
			return n
		}
		after(time.Minute)
		if got := answered(); got < 5 {
			t.Errorf("%d calls are answered after a minute; 20 requests are enough for 6", got)
		}
		after(5 * time.Minute)
		if got := answered(); got != sessions {
			t.Errorf("%d of %d calls are answered", got, sessions)
		}
		if got := r.sim.Count("", ""); got != 3*sessions {
			t.Errorf("%d requests, want a stream, a history and a send for each of %d sessions", got, sessions)
		}
		r.ran(n, sessions)
	})
}

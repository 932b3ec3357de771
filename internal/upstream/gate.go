package upstream

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// probeInterval is how often one request is let through while the credential is
// refused.
const probeInterval = 30 * time.Second

// gateWait is the longest that one request waits at a closed gate, so that a
// batch is formed anew from time to time. It is longer than probeInterval, so
// that a request which waits takes its turn to probe.
const gateWait = 45 * time.Second

var errGate = errors.New("the credential is refused (401); waiting until it works")

// gate closes when the API refuses the credential and opens when it works again, for
// all sessions at once: a thousand sessions must not ask a thousand times.
type gate struct {
	log *slog.Logger

	mu     sync.Mutex
	closed chan struct{} // guarded by mu; nil while open; closed when the gate opens
	probe  time.Time     // guarded by mu; when the next probe may go
	since  time.Time     // guarded by mu; when the gate closed
	era    int           // guarded by mu; counts how often the gate closed or opened
}

// current is the era in which a request begins. What the response of a request
// from before says is not news: it was sent before the gate moved, perhaps with
// another credential.
func (g *gate) current() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.era
}

// enter lets the caller through, or waits until the gate opens. It returns an
// error when it stays closed for gateWait or ctx ends.
func (g *gate) enter(ctx context.Context) error {
	timeout := time.NewTimer(gateWait)
	defer timeout.Stop()
	for {
		g.mu.Lock()
		opened := g.closed
		if opened == nil {
			g.mu.Unlock()
			return nil
		}
		wait := time.Until(g.probe)
		if wait <= 0 {
			g.probe = time.Now().Add(probeInterval)
			g.mu.Unlock()
			return nil
		}
		g.mu.Unlock()
		probe := time.NewTimer(wait)
		select {
		case <-opened:
		case <-probe.C:
		case <-timeout.C:
			probe.Stop()
			return errGate
		case <-ctx.Done():
			probe.Stop()
			return context.Cause(ctx)
		}
		probe.Stop()
	}
}

// note takes in what the response to a request of an era said of the credential:
// its status, and whether the API itself spoke. A proxy's page (under 401 too), an
// overload or a rate limit says nothing of the credential.
func (g *gate) note(status int, spoke bool, era int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case era != g.era:
	case status == 401 && spoke && g.closed == nil:
		g.closed = make(chan struct{})
		g.era++
		g.since = time.Now()
		g.probe = g.since.Add(probeInterval)
		g.log.Error("the API refuses the credential (401): nothing is sent until it works; renew the key and reload (SIGHUP), or restart")
	case g.closed != nil && spoke && status != 401 && status != 408 && status != 429 && status >= 200 && status < 500:
		g.open("the API accepts the credential again")
	}
}

// open lets everybody through. The caller holds mu.
func (g *gate) open(why string) {
	g.log.Info(why, "refused_for", time.Since(g.since).Round(time.Second).String())
	close(g.closed)
	g.closed = nil
	g.era++
}

// renew opens the gate because the credential has changed.
func (g *gate) renew() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		g.open("the credential was renewed: trying it")
		return
	}
	g.era++ // a refusal of the old one, still on its way, says nothing of the new
}

func (g *gate) refusedSince() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed == nil {
		return time.Time{}
	}
	return g.since
}

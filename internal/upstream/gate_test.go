package upstream

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func closedGate() (*gate, *bytes.Buffer) {
	log := &bytes.Buffer{}
	g := &gate{log: slog.New(slog.NewTextHandler(log, nil))}
	g.note(401, true, g.current())
	return g, log
}

func TestOpenGateLetsEverybodyThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{log: slog.New(slog.DiscardHandler)}
		for _, c := range []struct {
			status int
			spoke  bool
		}{{200, true}, {403, true}, {404, true}, {500, true}, {0, false}, {401, false}} {
			g.note(c.status, c.spoke, g.current())
			if err := g.enter(t.Context()); err != nil || !g.refusedSince().IsZero() {
				t.Errorf("after %d: %v", c.status, err)
			}
		}
	})
}

// A thousand sessions probe once each half minute together, and one line tells.
func TestClosedGateLetsOneProbeThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, log := closedGate()
		ctx, cancel := context.WithCancel(t.Context())
		var probes atomic.Int32
		for range 1000 {
			go func() {
				for ctx.Err() == nil {
					if g.enter(ctx) == nil {
						probes.Add(1)
						g.note(401, true, g.current())
					}
				}
			}()
		}
		time.Sleep(10*time.Minute + time.Second)
		if got := probes.Load(); got != 20 {
			t.Errorf("%d probes in ten minutes, want 20", got)
		}
		if got := strings.Count(log.String(), "\n"); got != 1 {
			t.Errorf("%d lines: %s", got, log)
		}
		cancel()
		synctest.Wait()
	})
}

func TestGateOpensForAll(t *testing.T) {
	for name, open := range map[string]func(*gate){
		"by an answer":            func(g *gate) { g.note(200, true, g.current()) },
		"by another error":        func(g *gate) { g.note(404, true, g.current()) },
		"by a renewed credential": func(g *gate) { g.renew() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, _ := closedGate()
				through := make(chan error, 100)
				for range 100 {
					go func() { through <- g.enter(t.Context()) }()
				}
				time.Sleep(time.Second)
				if len(through) != 0 {
					t.Fatal("somebody came through a closed gate")
				}
				open(g)
				synctest.Wait()
				if len(through) != 100 || !g.refusedSince().IsZero() {
					t.Errorf("%d came through", len(through))
				}
				g.note(401, true, g.current())
				if g.refusedSince().IsZero() {
					t.Error("it does not close again")
				}
			})
		})
	}
}

func TestWaitAtTheGateIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := closedGate()
		g.probe = time.Now().Add(time.Hour)
		begun := time.Now()
		if err := g.enter(t.Context()); !errors.Is(err, errGate) || time.Since(begun) != gateWait {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		why := errors.New("drained")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		if err := g.enter(ctx); !errors.Is(err, why) {
			t.Errorf("%v", err)
		}
	})
}

// What does not come from the API itself, or says nothing of the credential,
// leaves the gate closed.
func TestGateStaysClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := closedGate()
		for _, c := range []struct {
			status int
			spoke  bool
		}{{0, false}, {302, false}, {401, false}, {404, false}, {403, false}, {408, true}, {429, true}, {500, true}, {503, true}, {529, true}, {401, true}} {
			g.note(c.status, c.spoke, g.current())
			if g.refusedSince().IsZero() {
				t.Errorf("a status %d opens it", c.status)
			}
		}
		g.note(200, true, g.current()-1)
		if g.refusedSince().IsZero() {
			t.Error("the response to a request from before opens it")
		}
	})
}

package sim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"toolhand/internal/sim"
	"toolhand/internal/testkit"
)

// sink is a client that counts the frames it gets.
type sink struct {
	header http.Header
	frames *atomic.Int64
}

func (s sink) Header() http.Header { return s.header }
func (s sink) WriteHeader(int)     {}
func (s sink) Flush()              {}
func (s sink) Write(p []byte) (int, error) {
	if strings.HasPrefix(string(p), "event: agent.") {
		s.frames.Add(1)
	}
	return len(p), nil
}

func direct(ctx context.Context, method, target string) *http.Request {
	r := httptest.NewRequestWithContext(ctx, method, target, nil)
	r.Header.Set("Authorization", "Bearer k")
	r.Header.Set("Anthropic-Version", "2023-06-01")
	r.Header.Set("Anthropic-Beta", "managed-agents-2026-04-01")
	return r
}

// TestTenThousandStreams opens a stream of each of 10,000 sessions and lets
// something happen in each, once.
func TestTenThousandStreams(t *testing.T) {
	const n = 10_000
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	srv := sim.New(sim.Options{KeepRequests: 10})
	before := heap()
	var streams sync.WaitGroup
	var frames atomic.Int64
	sessions := make([]*sim.Session, n)
	for i := range sessions {
		sessions[i] = srv.Session(fmt.Sprintf("sesn_%05d", i))
		streams.Go(func() {
			srv.ServeHTTP(sink{http.Header{}, &frames},
				direct(ctx, "GET", "/v1/sessions/"+sessions[i].ID()+"/events/stream"))
		})
	}
	for _, s := range sessions {
		if err := s.WaitStreams(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	if each := (heap() - before) / n; each > 32<<10 { // measured: 5 kB, 8 kB with -race
		t.Errorf("%d bytes for a quiet session with a stream", each)
	}
	for _, s := range sessions {
		s.CallTool("a", `{}`)
	}
	testkit.Eventually(t, "all frames", func() bool { return frames.Load() >= n })
	srv.Close()
	streams.Wait()
	if frames.Load() != n {
		t.Errorf("%d frames for %d events", frames.Load(), n)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestOldSession checks that a page costs its size and not the session's age.
func TestOldSession(t *testing.T) {
	srv := sim.New(sim.Options{})
	cost := func(sess *sim.Session, q url.Values) time.Duration {
		best := time.Hour
		for range 20 {
			begin := time.Now()
			w := httptest.NewRecorder()
			srv.ServeHTTP(w, direct(t.Context(), "GET", "/v1/sessions/"+sess.ID()+"/events?"+q.Encode()))
			best = min(best, time.Since(begin))
			var p page
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || len(p.Data) != 10 {
				t.Fatalf("%d events, %v", len(p.Data), err)
			}
		}
		return best
	}
	grow := func(n int) *sim.Session {
		sess := srv.NewSession(sim.SessionSpec{})
		for range 20 {
			sess.Error("a rare event, at the beginning")
		}
		for range n {
			sess.Message("x")
		}
		return sess
	}
	young, old := grow(100), grow(50_000)
	for _, q := range []url.Values{
		{"limit": {"10"}, "order": {"desc"}},
		{"limit": {"10"}, "order": {"desc"}, "types[]": {"session.error", "user.interrupt"}},
	} {
		if a, b := cost(young, q), cost(old, q); b > 10*a+300*time.Microsecond {
			t.Errorf("%v: %s in a young session, %s in an old one", q, a, b)
		}
	}
}

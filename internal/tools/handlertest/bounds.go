package handlertest

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"toolhand/internal/tools"
)

// maxAllocated bounds what one call may allocate in all, in bytes: the largest
// answer that is held whole, and its growth to there. What an other end within
// this process allocates counts too, so it is several times what is needed.
const maxAllocated = 64 << 20

func (s suite) huge(t *testing.T) {
	s.common.MaxResultBytes = 10_000
	size := Size
	if s.MaxAnswer != 0 {
		size = s.MaxAnswer
	}
	h := s.handler(t, Huge)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := h.Call(t.Context(), s.call(1, `{}`))
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	got := textOf(t, r)
	if !strings.HasPrefix(got, "begin") || !strings.HasSuffix(got, "end") || len(got) > 10_000 || len(got) < 9_000 {
		t.Errorf("%d of %d bytes are left: %.20q … %.20q", len(got), size, got, got[max(0, len(got)-20):])
	}
	if !strings.Contains(got, "bytes left out") {
		t.Error("nothing says how much is left out")
	}
	if used := after.TotalAlloc - before.TotalAlloc; s.MaxAnswer == 0 && used > maxAllocated {
		t.Errorf("%d bytes were allocated for an answer of %d", used, size)
	}
}

// stops checks that a call ends soon after its context, whatever the other end
// does.
func (s suite) stops(b Behaviour) func(*testing.T) {
	return func(t *testing.T) {
		h := s.handler(t, b)
		const deadline = 300 * time.Millisecond
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		_, err := h.Call(ctx, s.call(1, `{}`))
		took := time.Since(begin)
		if err == nil {
			t.Error("the call ended without an error")
		}
		if took < deadline || took > deadline+s.Stop {
			t.Errorf("the call took %v, with a deadline of %v", took, deadline)
		}
	}
}

var errStopped = errors.New("stopped by the test")

func (s suite) cancelled(t *testing.T) {
	h := s.handler(t, Silent)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := h.Call(ctx, s.call(1, `{}`))
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("the call ended before it was cancelled: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	cancel(errStopped)
	select {
	case err := <-done:
		if !errors.Is(err, errStopped) {
			t.Errorf("got %v, expected the cause of the cancellation", err)
		}
	case <-time.After(s.Stop):
		t.Errorf("the call did not end within %v", s.Stop)
		<-done
	}
}

func (s suite) over(t *testing.T) {
	h := s.handler(t, Echo)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errStopped)
	_, err := h.Call(ctx, s.call(1, `{}`))
	if u := (*tools.UnavailableError)(nil); !errors.As(err, &u) || !errors.Is(err, errStopped) {
		t.Errorf("got %v (%T), expected an UnavailableError with the cause", err, err)
	}
}

func (s suite) unreachable(t *testing.T) {
	h := s.Unreachable(t, s.common)
	closeAfter(t, h)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := h.Call(ctx, s.call(1, `{}`))
	if u := (*tools.UnavailableError)(nil); !errors.As(err, &u) || err.Error() == "" {
		t.Errorf("got %v (%T), expected an UnavailableError", err, err)
	}
}

func (s suite) lost(t *testing.T) {
	h := s.handler(t, Lose)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := h.Call(ctx, s.call(1, `{}`))
	if l := (*tools.LostError)(nil); !errors.As(err, &l) || err.Error() == "" {
		t.Errorf("got %v (%T), expected a LostError", err, err)
	}
}

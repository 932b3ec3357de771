package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"toolhand/internal/loop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a session that does what a test says: loop.Session is tried for real
// in the command's tests.
type fake struct {
	id      string
	drained chan struct{}
	once    sync.Once
	reloads atomic.Int32
	calls   int           // it owes so many answers
	takes   time.Duration // to drain
	panics  bool
	deaf    bool // it does not drain
	served  atomic.Bool
	gone    chan struct{}
}

func (f *fake) Serve(ctx context.Context) loop.Reason {
	f.served.Store(true)
	if f.panics {
		panic("a bug")
	}
	drained := f.drained
	if f.deaf {
		drained = nil
	}
	select {
	case <-ctx.Done():
		return loop.ReasonStopped
	case <-f.gone:
		return loop.ReasonOver
	case <-drained:
	}
	select {
	case <-ctx.Done():
		return loop.ReasonStopped
	case <-time.After(f.takes):
		f.calls = 0
		return loop.ReasonDrained
	}
}

func (f *fake) Drain()  { f.once.Do(func() { close(f.drained) }) }
func (f *fake) Reload() { f.reloads.Add(1) }
func (f *fake) Status(context.Context) (loop.Status, bool) {
	st := loop.Status{ID: f.id, State: "attached"}
	for i := range f.calls {
		st.Calls = append(st.Calls, loop.CallStatus{ID: fmt.Sprint(i), Owed: true})
	}
	return st, true
}

// stage is a fleet of fakes that is served.
type stage struct {
	*Fleet
	mu    sync.Mutex
	made  []*fake
	log   bytes.Buffer
	drain context.CancelFunc
	hard  context.CancelFunc
	left  chan int
}

func newStage(max int, grace time.Duration, shape func(*fake)) *stage {
	s := &stage{left: make(chan int, 1)}
	s.Fleet = New(Config{MaxActive: max, Log: slog.New(slog.NewTextHandler(&s.log, nil)), New: func(id string, _ bool) Session {
		s.mu.Lock()
		defer s.mu.Unlock()
		f := &fake{id: id, drained: make(chan struct{}), gone: make(chan struct{})}
		if shape != nil {
			shape(f)
		}
		s.made = append(s.made, f)
		return f
	}})
	drain, stop := context.WithCancel(context.Background())
	hard, kill := context.WithCancel(context.Background())
	s.drain, s.hard = stop, kill
	go func() { s.left <- s.Serve(drain, hard, grace) }()
	return s
}

func (s *stage) ids(t *testing.T) string {
	all, complete := s.Statuses(t.Context())
	if !complete {
		t.Error("a session did not say what it does")
	}
	var ids []string
	for _, st := range all {
		ids = append(ids, st.ID)
	}
	return strings.Join(ids, " ")
}

func TestAttachAndDetachAtAnyTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(2, time.Minute, nil)
		for _, id := range []string{"b", "a", "a"} {
			if _, err := s.Attach(t.Context(), id, "test", true); err != nil {
				t.Error(id, err)
			}
		}
		if _, err := s.Attach(t.Context(), "c", "test", false); !errors.Is(err, ErrFull) {
			t.Errorf("a third session: %v, want ErrFull", err)
		}
		if got := s.ids(t); got != "a b" || len(s.made) != 2 {
			t.Errorf("served: %s, made %d", got, len(s.made))
		}
		s.Reload(t.Context())
		synctest.Wait()
		if s.made[0].reloads.Load() != 1 || s.made[1].reloads.Load() != 1 {
			t.Error("a session was not told to reload")
		}
		if !s.Detach(t.Context(), "a") || s.Detach(t.Context(), "nobody") {
			t.Error("detach of a session that is served, and of one that is not")
		}
		synctest.Wait()
		if _, err := s.Attach(t.Context(), "c", "test", false); err != nil {
			t.Error("the place that a left is not free:", err)
		}
		if got := s.ids(t); got != "a b c" {
			t.Errorf("shown: %s; one that ended lately is shown too", got)
		}
		s.drain()
		if left := <-s.left; left != 0 {
			t.Errorf("%d calls left, want 0", left)
		}
		if _, err := s.Attach(t.Context(), "d", "test", false); !errors.Is(err, ErrDraining) {
			t.Errorf("attach after the end: %v", err)
		}
		s.hard()
	})
}

func TestStaysWhenAllSessionsHaveEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(0, time.Minute, nil)
		s.Attach(t.Context(), "a", "test", true)
		close(s.made[0].gone)
		time.Sleep(time.Hour)
		select {
		case <-s.left:
			t.Fatal("the fleet ended with its last session")
		default:
		}
		s.drain()
		<-s.left
		s.hard()
	})
}

func TestDrainWaitsForTheGraceAndNoLonger(t *testing.T) {
	for _, c := range []struct {
		takes, want time.Duration
		left        int
	}{{10 * time.Second, 10 * time.Second, 0}, {time.Hour, 30 * time.Second, 3}} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(0, 30*time.Second, func(f *fake) { f.takes, f.calls = c.takes, 3 })
			s.Attach(t.Context(), "a", "test", true)
			begun := time.Now()
			s.drain()
			if left := <-s.left; left != c.left {
				t.Errorf("%d calls left, want %d", left, c.left)
			}
			if took := time.Since(begun); took != c.want {
				t.Errorf("the drain took %s, want %s", took, c.want)
			}
			s.hard()
		})
	}
}

func TestHardEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(0, time.Hour, func(f *fake) { f.deaf, f.calls = true, 2 })
		s.Attach(t.Context(), "a", "test", true)
		s.drain()
		synctest.Wait()
		begun := time.Now()
		s.hard()
		if left := <-s.left; left != 2 || time.Since(begun) != 0 {
			t.Errorf("%d calls left after %s, want 2 at once", left, time.Since(begun))
		}
	})
}

func TestPanicOfASessionIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := true
		s := newStage(0, time.Minute, func(f *fake) {
			f.panics = f.id == "a" && first
			first = first && f.id != "a"
		})
		s.Attach(t.Context(), "a", "test", true)
		s.Attach(t.Context(), "b", "test", true)
		time.Sleep(2 * time.Second)
		if got := s.ids(t); got != "a b" || len(s.made) != 3 || !s.made[2].served.Load() {
			t.Errorf("served: %s, made %d: the session is not attached again", got, len(s.made))
		}
		s.drain()
		<-s.left
		s.hard()
		if !strings.Contains(s.log.String(), "a bug") {
			t.Errorf("the log does not say why:\n%s", &s.log)
		}
	})
}

// A session that panicked comes back a second later, and a drain or a stop does not
// wait for that: before, at and after that second.
func TestDrainDoesNotWaitForWhatPanicked(t *testing.T) {
	for _, wait := range []time.Duration{0, reattachWait / 2, reattachWait, 3 * reattachWait / 2} {
		for _, hard := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(0, time.Minute, func(f *fake) { f.panics = true })
				s.Attach(t.Context(), "a", "test", true)
				time.Sleep(wait)
				begun := time.Now()
				if hard {
					s.hard()
				} else {
					s.drain()
				}
				select {
				case <-s.left:
				case <-time.After(time.Hour):
					t.Fatalf("the drain hangs, %s after a panic", wait)
				}
				if took := time.Since(begun); took != 0 {
					t.Errorf("the drain took %s", took)
				}
				s.hard()
			})
		}
	}
}

func TestEndedSessionsAreForgottenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(0, time.Minute, nil)
		for i := range maxEnded + 20 {
			id := fmt.Sprintf("s%03d", i)
			s.Attach(t.Context(), id, "test", false)
			s.Detach(t.Context(), id)
			synctest.Wait()
		}
		if all, _ := s.Statuses(t.Context()); len(all) != maxEnded {
			t.Errorf("%d sessions are shown, want %d", len(all), maxEnded)
		}
		// Not those that are configured: readiness asks what became of each.
		for i := range maxEnded + 20 {
			id := fmt.Sprintf("p%03d", i)
			s.Attach(t.Context(), id, "test", true)
			close(s.made[len(s.made)-1].gone)
			synctest.Wait()
		}
		if all, _ := s.Statuses(t.Context()); len(all) != 2*maxEnded+20 {
			t.Errorf("%d sessions are shown, want %d", len(all), 2*maxEnded+20)
		}
		s.drain()
		<-s.left
		s.hard()
	})
}

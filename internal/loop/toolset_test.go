package loop

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/registry"
	"toolhand/internal/sim"
	"toolhand/internal/tools"
)

// runs is what became of a tool's runs.
type runs struct {
	begun atomic.Int32
	ended atomic.Int32

	mu     sync.Mutex
	causes []error // of those that were stopped
}

func (n *runs) stopped(cause error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.causes = append(n.causes, cause)
}

// cause is why the only stopped run was stopped, nil where none was.
func (n *runs) cause() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.causes) != 1 {
		return nil
	}
	return n.causes[0]
}

// slow puts a tool in force that takes d and then answers with its input, or
// stops with its context.
func (r *rig) slow(name string, d time.Duration, change ...func(*registry.Manifest)) *runs {
	n := &runs{}
	spec := registry.Manifest{Name: name, Handler: handlerFunc(func(ctx context.Context, c tools.Call) (tools.Result, error) {
		n.begun.Add(1)
		defer n.ended.Add(1)
		select {
		case <-time.After(d):
			return echo(ctx, c)
		case <-ctx.Done():
			n.stopped(context.Cause(ctx))
			return tools.Result{}, ctx.Err()
		}
	})}
	for _, c := range change {
		c(&spec)
	}
	r.tool(spec)
	return n
}

// counted puts a tool in force that answers with its input at once.
func (r *rig) counted(name string) *runs {
	n := &runs{}
	r.tool(registry.Manifest{Name: name, Handler: handlerFunc(func(ctx context.Context, c tools.Call) (tools.Result, error) {
		n.begun.Add(1)
		defer n.ended.Add(1)
		return echo(ctx, c)
	})})
	return n
}

func deadline(d time.Duration, text string) func(*registry.Manifest) {
	return func(s *registry.Manifest) { s.Deadline, s.DeadlineText = d, text }
}

// ran checks how often a tool was begun (invariant 1).
func (r *rig) ran(n *runs, want int32) {
	r.t.Helper()
	if got := n.begun.Load(); got != want {
		r.t.Errorf("the tool ran %d times, want %d", got, want)
	}
}

// requests checks how many requests of a kind were made.
func (r *rig) requests(e sim.Endpoint, want int) {
	r.t.Helper()
	if got := r.count(e); got != want {
		r.t.Errorf("%d requests to %s, want %d", got, e, want)
	}
}

// after lets fake time pass, and then everything come to rest.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// unanswered checks that a call has no result.
func (r *rig) unanswered(ids ...string) {
	r.t.Helper()
	for _, id := range ids {
		if res, ok := r.session.Result(id); ok {
			r.t.Errorf("call %s was answered with %s", id, res.Content)
		}
	}
}

// served checks that the session is still served.
func (r *rig) stays() {
	r.t.Helper()
	select {
	case got := <-r.reason:
		r.t.Fatalf("the session ended with %q", got)
	default:
	}
}

// history puts events in the history as they happened while nobody was there.
func (r *rig) history(events ...string) {
	r.t.Helper()
	for _, e := range events {
		if err := r.session.Bury([]byte(e)); err != nil {
			r.t.Fatal(err)
		}
	}
}

// live puts events in the history and on the stream.
func (r *rig) live(events ...string) {
	r.t.Helper()
	for _, e := range events {
		if err := r.session.Emit([]byte(e)); err != nil {
			r.t.Fatal(err)
		}
	}
}

// slowJournal takes its time.
type slowJournal struct {
	journal.Memory
	start time.Duration
}

func (j *slowJournal) Start(ctx context.Context, e journal.Entry) (uint64, error) {
	time.Sleep(j.start)
	return j.Memory.Start(ctx, e)
}

// turned turns the events of a page by n.
func turned(n int) sim.Action {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, q)
			var page map[string]json.RawMessage
			var data []json.RawMessage
			if json.Unmarshal(rec.Body.Bytes(), &page) == nil && json.Unmarshal(page["data"], &data) == nil && len(data) > 0 {
				n := n % len(data)
				page["data"], _ = json.Marshal(append(data[n:], data[:n]...))
			}
			b, _ := json.Marshal(page) // it was JSON before
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(b)
		})
	}
}

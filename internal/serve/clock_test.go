package serve

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/registry"
	"toolhand/internal/testkit"
	"toolhand/internal/tools"
	"toolhand/internal/tools/natswire"
)

const years = 50 * 365 * 24 * time.Hour

// untilStopped is a tool that runs until its deadline.
func untilStopped(ctx context.Context, _ tools.Call) (tools.Result, error) {
	<-ctx.Done()
	return tools.Result{}, context.Cause(ctx)
}

// What a sender's clock shows decides nothing: neither whether a call is begun, nor
// how long it may take (invariants 4 and 5).
func TestDeadlineByNoSendersClock(t *testing.T) {
	r := newRig(t)
	r.serve(time.Second,
		registry.Manifest{Name: "quick", Handler: text("done")},
		registry.Manifest{Name: "stuck", Deadline: time.Hour, DeadlineText: "1h", Handler: handlerFunc(untilStopped)},
		registry.Manifest{Name: "short", Deadline: 200 * time.Millisecond, DeadlineText: "200ms", Handler: handlerFunc(untilStopped)})
	for _, c := range []struct {
		tool, left, outcome string
		ahead               time.Duration
	}{
		{"quick", "60000", "ok", 0},
		{"quick", "60000", "ok", -time.Hour},
		{"quick", "60000", "ok", -years},
		{"quick", "60000", "ok", years},
		{"quick", "0", "deadline", years},
		{"quick", "-1", "deadline", time.Hour},
		{"stuck", "200", "deadline", years},
		{"stuck", "200", "deadline", -years},
		{"short", "3600000", "deadline", years},
		{"short", "", "deadline", years},
		{"quick", "soon", "unavailable", time.Hour},
		{"quick", "9223372036854775807", "unavailable", time.Hour},
	} {
		msg := nats.NewMsg("toolhand.tool." + c.tool)
		msg.Header.Set("Tool-Use-Id", "sevt_1")
		msg.Header.Set("Tool-Deadline", time.Now().Add(c.ahead).Format(time.RFC3339Nano))
		if c.left != "" {
			msg.Header.Set(natswire.TimeLeftHeader, c.left)
		}
		reply, err := r.nc.RequestMsg(msg, 5*time.Second)
		if err != nil || reply.Header.Get(natswire.OutcomeHeader) != c.outcome {
			t.Errorf("%+v: %v, %v", c, err, reply)
		}
	}
}

// A worker says what a call has left.
func TestTimeLeftIsSaid(t *testing.T) {
	r := newRig(t)
	got := make(chan string, 1)
	if _, err := r.nc.Subscribe("toolhand.tool.a", func(m *nats.Msg) {
		got <- m.Header.Get(natswire.TimeLeftHeader)
		_ = m.Respond([]byte("x"))
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ask(t.Context(), "a", "sevt_1", `{}`, time.Minute); err != nil {
		t.Fatal(err)
	}
	if left, err := time.ParseDuration(<-got + "ms"); err != nil || left > time.Minute || left < 50*time.Second {
		t.Errorf("a minute is said to be %s, %v", left, err)
	}
}

// How long a job has waited is told by the server's clock alone.
func TestQueueWaitByTheServersClock(t *testing.T) {
	r := newQueueRig(t, 5*time.Second)
	spec := registry.Manifest{Name: "a", Handler: text("ran")}
	s := r.worksOff(time.Second, 8, spec)
	r.gives(r.put(t.Context(), "a", "sevt_first", false, time.Minute), "ran")
	s.drain()
	<-s.left
	for id, c := range map[string]struct {
		ahead time.Duration
		left  string
	}{"sevt_late": {years, "300"}, "sevt_early": {-time.Hour, "60000"}} {
		m := nats.NewMsg("toolhand.jobs.a")
		m.Header.Set("Tool-Use-Id", id)
		m.Header.Set("Tool-Deadline", time.Now().Add(c.ahead).Format(time.RFC3339Nano))
		m.Header.Set(natswire.TimeLeftHeader, c.left)
		if _, err := r.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(400 * time.Millisecond)
	r.worksOff(time.Second, 8, spec)
	results, err := r.js.Stream(t.Context(), natswire.ResultStream)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{"sevt_late": "did not finish within its deadline", "sevt_early": "ran"} {
		var m *jetstream.RawStreamMsg
		testkit.Eventually(r.t, id+" has its result", func() bool {
			m, err = results.GetLastMsgForSubject(t.Context(), "toolhand.results."+id)
			return err == nil
		})
		if !strings.Contains(string(m.Data), want) {
			t.Errorf("%s: %s, want %s", id, m.Data, want)
		}
	}
	r.empty()
}

// The server's clock may show what it likes.
func TestServerClock(t *testing.T) {
	for _, ahead := range []time.Duration{0, -time.Hour, years} {
		var c serverClock
		if c.since(time.Now()) >= 0 {
			t.Error("a clock that was never seen says something")
		}
		c.learn(&jetstream.ConsumerInfo{})
		if c.since(time.Now()) >= 0 {
			t.Error("a server that does not say its time is taken to say one")
		}
		at := time.Now().Add(ahead)
		c.learn(&jetstream.ConsumerInfo{TimeStamp: at})
		if since := c.since(at.Add(-time.Minute)); since < time.Minute || since > time.Minute+10*time.Second {
			t.Errorf("%s ahead: a minute is %s", ahead, since)
		}
		if since := c.since(at.Add(time.Hour)); since != 0 {
			t.Errorf("%s ahead: what is to come was %s ago", ahead, since)
		}
	}
}

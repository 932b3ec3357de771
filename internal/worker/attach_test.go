package worker

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/fleet"
	"toolhand/internal/loop"
	"toolhand/internal/tools/natswire"
)

// quiet is a session that is served and does nothing.
type quiet struct {
	drained chan struct{}
	once    *sync.Once
}

func (q quiet) Serve(ctx context.Context) loop.Reason {
	select {
	case <-q.drained:
		return loop.ReasonDrained
	case <-ctx.Done():
		return loop.ReasonStopped
	}
}
func (q quiet) Drain()                                   { q.once.Do(func() { close(q.drained) }) }
func (quiet) Reload()                                    {}
func (quiet) Status(context.Context) (loop.Status, bool) { return loop.Status{State: "attached"}, true }
func newQuiet(string, bool) fleet.Session                { return quiet{make(chan struct{}), &sync.Once{}} }

// TestAttachOverNATS: a program asks for a session by a request, and is answered by one
// worker with the codes of HTTP.
func TestAttachOverNATS(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	b, err := bus.Open(t.Context(), bus.Options{StoreDir: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer closeBus(b, log)
	s := &sessions{Worker: &Worker{bus: b, log: log}, owner: "me", fleet: fleet.New(fleet.Config{New: newQuiet, MaxActive: 2, Log: log})}
	drain, stop := context.WithCancel(t.Context())
	left := make(chan int)
	go func() { left <- s.fleet.Serve(drain, t.Context(), time.Minute) }()
	unsubscribe, err := s.answerAttach(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unsubscribe()
	ask := func(body, code, text string) {
		t.Helper()
		m, err := b.Conn().Request(natswire.AttachSubject, []byte(body), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		said := string(m.Data) + m.Header.Get("Nats-Service-Error")
		if m.Header.Get("Nats-Service-Error-Code") != code || !strings.Contains(said, text) {
			t.Errorf("%s: %v %s, want %s %q", body, m.Header, m.Data, code, text)
		}
	}
	ask(`{"id": "sesn_1"}`, "", `"worker":"me"`)
	ask(`{"id": "sesn_1"}`, "", `"worker":"me"`)
	ask(`{"id": "sesn_2"}`, "", `"id":"sesn_2"`)
	ask(`{"id": "sesn_3"}`, "429", "max_active")
	for _, body := range []string{`{"id": "a/b"}`, `{"id": ""}`, `{"id": 5}`, `{}`, `null`, `[]`, `{`, ``} {
		ask(body, "400", "expected")
	}
	if !s.detach(t.Context(), "sesn_1") || s.detach(t.Context(), "sesn_9") {
		t.Error("detach of a session that is served, and of one that is not")
	}
	stop()
	<-left
	ask(`{"id": "sesn_4"}`, "409", "shuts down")
}

package nats_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"toolhand/internal/testkit"
	"toolhand/internal/tools"
	"toolhand/internal/tools/handlertest"
	toolnats "toolhand/internal/tools/nats"
)

func TestNATSConforms(t *testing.T) {
	for name, start := range map[string]func(*testing.T) *natsServer{
		"embedded": embedNATS,
		"external": func(t *testing.T) *natsServer { return spawnNATS(t, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			handlertest.Run(t, tools.Common{Name: "nats_tool"}, handlertest.Peer{
				New: func(t *testing.T, common tools.Common, b handlertest.Behaviour) tools.Handler {
					srv := start(t)
					natsPeer(t, srv.url, "toolhand.tool.nats_tool", b, srv.stop)
					return newNATS(t, toolnats.Config{}, common, srv.connect(t))
				},
				Unreachable: func(t *testing.T, common tools.Common) tools.Handler {
					return newNATS(t, toolnats.Config{}, common, start(t).connect(t))
				},
				Whole: true, Loses: true, MaxAnswer: handlertest.NATSPayload,
			})
		})
	}
}

// ask makes one call with a deadline.
func ask(t *testing.T, h tools.Handler, deadline time.Duration) (string, bool, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	call := handlertest.NewCall(`{}`)
	call.Deadline = time.Now().Add(deadline)
	r, err := h.Call(ctx, call)
	if err != nil {
		return "", false, err
	}
	return handlertest.Text(t, r), r.IsError, nil
}

func TestNATSSubjects(t *testing.T) {
	for subject, well := range map[string]bool{
		"": true, "toolhand.tool.x": true, "team.a.b-1": true, "ä": true, "toolhands.x": true,
		"a..b": false, ".a": false, "a.": false, "a.*": false, "a.>": false, "a b": false, "a\tb": false, "a\nb": false,
		"$KV.toolhand_calls.x": false, "$JS.API.STREAM.PURGE.X": false, "_INBOX.x": false, "toolhand": false,
		"toolhand.attach": false, "toolhand.results.x": false, "toolhand.jobs.x": false, "toolhand.cancel.x": false,
		strings.Repeat("a", 2000): false,
	} {
		if _, err := toolnats.New(toolnats.Config{Subject: subject}, tools.Common{Name: "x"}, nil); (err == nil) != well {
			t.Errorf("%.40q: %v", subject, err)
		}
	}
}

// TestNATSNobodyThere: known within milliseconds, and as a state that passes.
func TestNATSNobodyThere(t *testing.T) {
	h := newNATS(t, toolnats.Config{Subject: "team.late"}, tools.Common{Name: "late"}, embedNATS(t).connect(t))
	for range 20 {
		began := time.Now()
		_, _, err := ask(t, h, time.Minute)
		var nobody *tools.UnavailableError
		if !errors.As(err, &nobody) || !nobody.Passing || !strings.Contains(err.Error(), "team.late") || time.Since(began) > time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	}
}

// TestNATSHeaders: what a handler is told, beyond what the suite looks at.
func TestNATSHeaders(t *testing.T) {
	nc := embedNATS(t).connect(t)
	got := make(chan nats.Header, 1)
	if _, err := nc.Subscribe("toolhand.tool.h", func(m *nats.Msg) { got <- m.Header; _ = m.Respond(nil) }); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ask(t, newNATS(t, toolnats.Config{}, tools.Common{Name: "h"}, nc), time.Minute); err != nil {
		t.Fatal(err)
	}
	header := <-got
	for name, want := range map[string]string{"Nats-Msg-Id": "sevt_1", "Idempotency-Key": "sevt_1", "Tool-Use-Id": "sevt_1", "Tool-Name": "shell", "Session-Id": "sesn_1"} {
		if header.Get(name) != want {
			t.Errorf("%s is %q, expected %q", name, header.Get(name), want)
		}
	}
}

// TestNATSServiceErrors: the convention of NATS services, with and without data.
func TestNATSServiceErrors(t *testing.T) {
	nc := embedNATS(t).connect(t)
	svc, err := micro.AddService(nc, micro.Config{Name: "errors", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	for name, handle := range map[string]func(micro.Request) error{
		"bare": func(r micro.Request) error { return r.Error("404", "no such file", nil) },
		"data": func(r micro.Request) error { return r.Error("500", "it broke", []byte("line 7")) },
		"long": func(r micro.Request) error { return r.Error("500", "it broke", []byte(strings.Repeat("x", 1000))) },
		"garbage": func(r micro.Request) error {
			return r.Respond([]byte(`{"content":[{"type":"text"`))
		},
	} {
		err := svc.AddEndpoint(name, micro.HandlerFunc(func(r micro.Request) {
			if err := handle(r); err != nil {
				t.Error(err)
			}
		}), micro.WithEndpointSubject("toolhand.tool."+name))
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		text    string
		isError bool
	}{
		"bare": {"error 404: no such file", true}, "data": {"error 500: it broke\nline 7", true},
		"garbage": {`{"content":[{"type":"text"`, false},
	} {
		text, isError, err := ask(t, newNATS(t, toolnats.Config{}, tools.Common{Name: name}, nc), time.Minute)
		if err != nil || text != want.text || isError != want.isError {
			t.Errorf("%s: %q, error %t, %v", name, text, isError, err)
		}
	}
	text, isError, err := ask(t, newNATS(t, toolnats.Config{}, tools.Common{Name: "long", MaxResultBytes: 100}, nc), time.Minute)
	if err != nil || !isError || len(text) > 100 || !strings.HasPrefix(text, "error 500: it broke\n") || !strings.Contains(text, "left out") {
		t.Errorf("long: %q, error %t, %v", text, isError, err)
	}
}

// TestNATSTellsTheHandler: at the deadline and when it is stopped, and only where
// somebody has the call.
func TestNATSTellsTheHandler(t *testing.T) {
	nc := embedNATS(t).connect(t)
	told := make(chan *nats.Msg, 10)
	if _, err := nc.ChanSubscribe("toolhand.cancel.>", told); err != nil {
		t.Fatal(err)
	}
	h := newNATS(t, toolnats.Config{}, tools.Common{Name: "slow"}, nc)
	if _, _, err := ask(t, h, 200*time.Millisecond); err == nil {
		t.Fatal("nobody is there")
	}
	taken := make(chan *nats.Msg, 10)
	if _, err := nc.ChanSubscribe("toolhand.tool.slow", taken); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"sevt_1", "x.y >*"} {
		ctx, stop := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		call := handlertest.NewCall(`{}`)
		call.ID = id
		go func() { _, err := h.Call(ctx, call); done <- err }()
		m := <-taken
		stop(errors.New("interrupted"))
		if err := <-done; err == nil || err.Error() != "interrupted" {
			t.Errorf("got %v", err)
		}
		over := <-told
		if got := over.Header.Get("Tool-Use-Id"); got != id || strings.Count(over.Subject, ".") != 2 {
			t.Errorf("told of %q on %s", got, over.Subject)
		}
		if id == "sevt_1" && over.Subject != "toolhand.cancel.sevt_1" {
			t.Errorf("told on %s", over.Subject)
		}
		_ = m.Respond([]byte("late")) // nobody takes it, and nothing breaks
	}
	if n := len(told); n != 0 {
		t.Errorf("told %d times too often", n)
	}
}

// TestNATSQueueGroup: each call goes to one of those that share a subject.
func TestNATSQueueGroup(t *testing.T) {
	srv := embedNATS(t)
	var ran [3]atomic.Int32
	for i := range ran {
		nc := handlertest.DialNATS(t, srv.url)
		if _, err := nc.QueueSubscribe("toolhand.tool.q", "workers", func(m *nats.Msg) { ran[i].Add(1); _ = m.Respond(nil) }); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	h := newNATS(t, toolnats.Config{}, tools.Common{Name: "q"}, srv.connect(t))
	for range 300 {
		if _, _, err := ask(t, h, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	sum := int32(0)
	for i := range ran {
		n := ran[i].Load()
		if sum += n; n < 40 {
			t.Errorf("handler %d ran %d of 300 calls", i, n)
		}
	}
	if sum != 300 {
		t.Errorf("300 calls ran %d times", sum)
	}
}

// TestNATSTooLargeInput: refused here with a reason, and nothing is sent.
func TestNATSTooLargeInput(t *testing.T) {
	nc := embedNATS(t).connect(t)
	call := handlertest.NewCall(`{"a":"` + strings.Repeat("x", handlertest.NATSPayload) + `"}`)
	r, err := newNATS(t, toolnats.Config{}, tools.Common{Name: "x"}, nc).Call(t.Context(), call)
	if err != nil || !r.IsError || !strings.Contains(handlertest.Text(t, r), "takes at most 8388608") {
		t.Errorf("got %.200s, %v", r.Content, err)
	}
}

// TestNATSServerComesBack: what was under way is lost; what is asked while the
// server is away is not sent later.
func TestNATSServerComesBack(t *testing.T) {
	first := spawnNATS(t, 0)
	nc := first.connect(t)
	h := newNATS(t, toolnats.Config{}, tools.Common{Name: "x"}, nc)
	peer := handlertest.DialNATS(t, first.url)
	taken := make(chan *nats.Msg, 10)
	if _, err := peer.ChanSubscribe("toolhand.tool.x", taken); err != nil {
		t.Fatal(err)
	}
	if err := peer.Flush(); err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() { _, _, err := ask(t, h, time.Minute); got <- err }()
	<-taken
	first.stop()
	var lost *tools.LostError
	if err := <-got; !errors.As(err, &lost) || !strings.Contains(err.Error(), "lost before the reply") {
		t.Errorf("got %v (%T)", err, err)
	}
	var nobody *tools.UnavailableError
	if _, _, err := ask(t, h, time.Minute); !errors.As(err, &nobody) || !nobody.Passing || !strings.Contains(err.Error(), "away") {
		t.Errorf("got %v (%T)", err, err)
	}
	var port int
	if _, err := fmt.Sscanf(first.url[strings.LastIndex(first.url, ":"):], ":%d", &port); err != nil {
		t.Fatal(err)
	}
	spawnNATS(t, port)
	go func() { _ = (<-taken).Respond([]byte("back")) }()
	testkit.Eventually(t, "an answer from the server that came back", func() bool {
		text, _, err := ask(t, h, time.Minute)
		if err != nil && !errors.As(err, &nobody) {
			t.Errorf("got %v (%T)", err, err)
		}
		return text == "back"
	})
	if n := len(taken); n != 0 {
		t.Errorf("%d calls came besides", n)
	}
}

// TestNATSWithoutConnection: the manifest's handler is there, its calls are not
// run, and say why.
func TestNATSWithoutConnection(t *testing.T) {
	h, err := toolnats.New(toolnats.Config{}, tools.Common{Name: "x"}, func() (*nats.Conn, error) { return nil, errors.New("set nats.url") })
	if err != nil {
		t.Fatal(err)
	}
	var nobody *tools.UnavailableError
	if _, _, err = ask(t, h, time.Minute); !errors.As(err, &nobody) || nobody.Passing || err.Error() != "set nats.url" {
		t.Errorf("got %v", err)
	}
	if err := handlertest.Live(t, h); err == nil || err.Error() != "set nats.url" {
		t.Errorf("got %v", err)
	}
}

// TestNATSLive: found without being run, whether a service or a plain subscriber.
func TestNATSLive(t *testing.T) {
	srv := embedNATS(t)
	h := newNATS(t, toolnats.Config{}, tools.Common{Name: "x"}, srv.connect(t))
	if err := handlertest.Live(t, h); err == nil || errors.Is(err, tools.ErrNotTold) || !strings.Contains(err.Error(), "nobody listens") {
		t.Errorf("nobody is there: %v", err)
	}
	for _, queue := range []string{"", "workers"} {
		peer := handlertest.DialNATS(t, srv.url)
		if _, err := peer.QueueSubscribe("toolhand.tool.x", queue, func(*nats.Msg) { t.Error("the tool was run") }); err != nil {
			t.Fatal(err)
		}
		if err := peer.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := handlertest.Live(t, h); err != nil {
			t.Errorf("queue %q: %v", queue, err)
		}
		if err := peer.Flush(); err != nil { // what was delivered is here now
			t.Fatal(err)
		}
		peer.Close()
	}
}

package sim_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"toolhand/internal/sim"
	"toolhand/internal/sim/faults"
)

// TestAnswerFaults checks what a client sees of each fault of an answer, and
// whether the send had its effect.
func TestAnswerFaults(t *testing.T) {
	for name, c := range map[string]struct {
		do       sim.Action
		status   int   // 0: an error of the transport
		is       error // which
		says     string
		accepted bool
	}{
		"refuse 500":    {sim.Refuse(500), 500, nil, "api_error", false},
		"refuse 529":    {sim.Refuse(529), 529, nil, "overloaded_error", false},
		"refuse 404":    {sim.Refuse(404), 404, nil, "not_found_error", false},
		"foreign 404":   {sim.RefuseAs(404, "router_error", "no route"), 404, nil, "router_error", false},
		"html 404":      {sim.Respond(404, "text/html", "<html>"), 404, nil, "<html>", false},
		"html 200":      {sim.Respond(200, "text/html", "<html>"), 200, nil, "<html>", false},
		"retry after":   {sim.RetryAfter(429, 7), 429, nil, "rate_limit_error", false},
		"redirect":      {faults.Redirect(307, "http://127.0.0.1:1/"), 307, nil, "", false},
		"reset before":  {sim.ResetBefore(), 0, syscall.ECONNRESET, "", false},
		"reset after":   {sim.ResetAfter(), 0, syscall.ECONNRESET, "", true},
		"garbled after": {faults.RespondAfter(200, "text/html", "<html>"), 200, nil, "<html>", true},
		"500 after":     {faults.RespondAfter(500, "text/plain", "oops"), 500, nil, "oops", true},
		"truncated":     {faults.Truncate(10), 200, io.ErrUnexpectedEOF, `{"data":[{`, true},
		"trickled":      {faults.Trickle(100, time.Millisecond), 200, nil, `"data":[{`, true},
		"delayed":       {faults.Delay(time.Millisecond), 200, nil, `"data":[{`, true},
		"late":          {faults.DelayAnswer(time.Millisecond), 200, nil, `"data":[{`, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, sim.Options{})
			sess := b.srv.Session("sesn_1")
			id := sess.CallTool("a", `{}`)
			armed := sess.Fail(sim.Send, c.do)
			b.must("GET", eventsPath(sess), "", nil) // another endpoint goes unharmed
			a := b.do("POST", eventsPath(sess), result(id), garbage, "1")
			reset := errors.Is(a.err, io.EOF) || errors.Is(a.err, io.ErrUnexpectedEOF) || errors.Is(a.err, syscall.ECONNRESET)
			if a.status != c.status || (c.is == nil) != (a.err == nil) || a.err != nil && !reset || !strings.Contains(string(a.body), c.says) {
				t.Errorf("%d %v %s", a.status, a.err, a.body)
			}
			if name == "retry after" && a.header.Get("retry-after") != "7" || name == "redirect" && a.header.Get("Location") == "" {
				t.Errorf("header %v", a.header)
			}
			if _, ok := b.srv.Result(id); ok != c.accepted {
				t.Errorf("accepted: %t", ok)
			}
			if armed.Fired() != 1 || b.srv.Count("sesn_1", sim.Send) != 1 {
				t.Errorf("fired %d times in %d sends", armed.Fired(), b.srv.Count("sesn_1", sim.Send))
			}
			if again := b.do("POST", eventsPath(sess), result(id)); again.status != 200 && !c.accepted {
				t.Errorf("the fault went on: %d", again.status)
			}
		})
	}
}

func TestFaultsAreChosen(t *testing.T) {
	b := newBed(t, sim.Options{})
	one, two := b.srv.Session("sesn_1"), b.srv.Session("sesn_2")
	b.srv.Arm(sim.Fault{Session: "sesn_1", Endpoint: sim.List, Skip: 1, Times: 2, Do: sim.Refuse(500)})
	large := b.srv.Arm(sim.Fault{Endpoint: sim.List, When: faults.LimitAbove(50), Times: -1, Do: sim.Refuse(504)})
	mentioned := b.srv.Arm(sim.Fault{Endpoint: sim.Send, When: faults.Mentions("sevt_x"), Do: sim.Refuse(503)})
	for i, want := range []int{200, 500, 500, 200} {
		if a := b.do("GET", eventsPath(one)+"?limit=50", ""); a.status != want {
			t.Errorf("request %d: %d, want %d", i, a.status, want)
		}
	}
	for _, query := range []string{"", "?limit=51", "?limit=1000"} {
		if a := b.do("GET", eventsPath(two)+query, ""); a.status != 504 {
			t.Errorf("%s: %d", query, a.status)
		}
	}
	large.Disarm()
	if a := b.do("GET", eventsPath(two), ""); a.status != 200 || large.Fired() != 3 {
		t.Errorf("%d after disarming, fired %d", a.status, large.Fired())
	}
	two.Call(sim.CallSpec{Name: "a", ID: "sevt_x"})
	two.Call(sim.CallSpec{Name: "a", ID: "sevt_y"})
	if a := b.do("POST", eventsPath(two), result("sevt_y")); a.status != 200 || mentioned.Fired() != 0 {
		t.Errorf("%d", a.status)
	}
	if a := b.do("POST", eventsPath(two), result("sevt_x")); a.status != 503 {
		t.Errorf("%d", a.status)
	}
}

func TestHangEndsWithTheServer(t *testing.T) {
	b := newBed(t, sim.Options{})
	sess := b.srv.Session("sesn_1")
	id := sess.CallTool("a", `{}`)
	sess.Fail(sim.Send, b.srv.HangAfter())
	sess.Fail(sim.Get, b.srv.Hang())
	answers := make(chan answer, 2)
	go func() { answers <- b.do("POST", eventsPath(sess), result(id)) }()
	go func() { answers <- b.do("GET", "/v1/sessions/sesn_1", "", garbage, "1") }()
	if err := sess.WaitAnswered(b.ctx, id); err != nil {
		t.Fatal(err)
	}
	b.srv.Close()
	for range 2 {
		if a := <-answers; a.err == nil && len(a.body) > 0 {
			t.Errorf("a hanging request was answered: %d %s", a.status, a.body)
		}
	}
}

// raw opens a stream whose bytes break the document, does something in the
// session, cuts the stream, and returns all of its bytes.
func (b *bed) raw(sess *sim.Session, do func()) (string, error) {
	st := b.open(sess, garbage, "1")
	do()
	sess.CutStreams(false)
	data, err := io.ReadAll(st.read)
	return string(data), err
}

func TestStreamFraming(t *testing.T) {
	const message = `event: agent.message` + "\n" + `data: {"type":"agent.message"`
	for name, c := range map[string]struct {
		do       sim.Action
		has, not []string
	}{
		"crlf":        {faults.CRLF(), []string{"event: agent.message\r\ndata: {", "}\r\n\r\n"}, nil},
		"cr":          {faults.CROnly(), []string{"event: agent.message\rdata: {", "}\r\r"}, []string{"\n"}},
		"bom":         {faults.BOM(), []string{"\ufeffevent: agent.message\n", "\n\nevent: agent.message\n"}, nil},
		"comments":    {faults.Comments(), []string{": a comment\nevent: agent.message\n:another: one\ndata: {"}, nil},
		"no space":    {faults.NoSpace(), []string{"event:agent.message\ndata:{\"type\":"}, []string{": {"}},
		"multi line":  {faults.MultiLine(), []string{`data: {"type":"agent.message",` + "\n" + `data: "id":"`}, nil},
		"no event":    {faults.NoEventField(), []string{"data: {", "}\n\ndata: {"}, []string{"event:"}},
		"duplicates":  {sim.Duplicate(), []string{"one", "two"}, nil},
		"reordered":   {faults.Reorder(2), []string{"two", "one"}, nil},
		"withheld":    {faults.WithholdTypes("agent.message"), nil, []string{"agent.message"}},
		"stall":       {sim.Stall(), nil, []string{"e", ":"}},
		"cut":         {faults.CutAfter(1, sim.ErrEOF), []string{"one"}, []string{"two"}},
		"cut at once": {faults.CutAfter(0, sim.ErrEOF), nil, []string{"one"}},
		"open end":    {faults.NoBlankLine(2), []string{"one", "two"}, nil},
		"error":       {faults.ErrorFrame(1), []string{"event: error\ndata: {\"type\":\"error\"", "two"}, []string{"one"}},
		"oddities":    {faults.Oddities(), []string{"agent.dreams", "data:\n\n", "retry: 10", "event_delta", "one", "two"}, nil},
		"bad JSON":    {faults.BadJSON(), []string{"{\"type\":\"agent.cus\n\n" + message}, nil},
		"huge":        {faults.HugeLine(33 << 20), []string{strings.Repeat("x", 33<<20), "one", "two"}, nil},
		"no stream":   {sim.Respond(200, "text/html", "<html>"), []string{"<html>"}, []string{"one"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, sim.Options{})
			sess := b.srv.Session("sesn_1")
			sess.Fail(sim.Stream, c.do)
			var text string
			if name == "no stream" {
				text = string(b.do("GET", eventsPath(sess)+"/stream", "", garbage, "1").body)
			} else {
				var err error
				if text, err = b.raw(sess, func() { sess.Message("one"); sess.Message("two") }); err != nil {
					t.Fatal(err)
				}
			}
			at := 0
			for _, want := range c.has { // in this order
				i := strings.Index(text[at:], want)
				if i < 0 {
					t.Fatalf("%.300q lacks %.300q", text[at:], want)
				}
				at += i
			}
			for _, no := range c.not {
				if strings.Contains(text, no) {
					t.Errorf("%.300q has %q", text, no)
				}
			}
			if n := strings.Count(text, `"text":"one"`); (name == "duplicates") != (n == 2) {
				t.Errorf("%d times", n)
			}
			if name == "open end" && (!strings.HasSuffix(text, "}\n") || strings.HasSuffix(text, "\n\n")) {
				t.Errorf("the end is %q", text[len(text)-10:])
			}
			if name != "no stream" && len(sess.History()) != 2 {
				t.Error("a fault of the stream touched the history")
			}
		})
	}
}

func TestStreamResets(t *testing.T) {
	b := newBed(t, sim.Options{})
	sess := b.srv.Session("sesn_1")
	sess.Fail(sim.Stream, faults.CutAfter(1, sim.ErrReset))
	st := b.open(sess)
	sess.Message("one")
	if _, err := io.ReadAll(st.read); err == nil {
		t.Error("the stream ended cleanly")
	}
	if err := sess.WaitStreams(b.ctx, 0); err != nil {
		t.Fatal(err)
	}
	st = b.open(sess)
	sess.CutStreams(true)
	if _, err := io.ReadAll(st.read); err == nil {
		t.Error("the stream ended cleanly")
	}
	if err := sess.WaitStreams(b.ctx, 0); err != nil {
		t.Fatal(err)
	}
	st = b.open(sess)
	sess.WriteRaw([]byte(": by hand\n\n"))
	sess.Show("event_start", []byte(`{"type":"event_start","event":{"type":"agent.message","id":"sevt_1"}}`))
	if g := st.next(); g.Type != "event_start" || len(sess.History()) != 1 {
		t.Errorf("%s, and %d in the history", g.raw, len(sess.History()))
	}
}

func TestHeartbeats(t *testing.T) {
	b := newBed(t, sim.Options{Heartbeat: time.Millisecond})
	sess := b.srv.Session("sesn_1")
	sess.Fail(sim.Stream, sim.HeartbeatsOnly())
	st := b.open(sess)
	sess.Message("one")
	for range 10 {
		for _, want := range []string{"event: ping\n", "data: {\"type\": \"ping\"}\n", "\n"} {
			if line, err := st.read.ReadString('\n'); err != nil || line != want {
				t.Fatalf("%q %v, want %q", line, err, want)
			}
		}
	}
	if res, err := b.hc.Do(b.request("GET", "/v1/sessions/sesn_none/events/stream", "")); err != nil || res.StatusCode != 404 {
		t.Error(res, err)
	} else {
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	if q := b.srv.Requests("sesn_1", sim.Stream); len(q) != 1 || q[0].Status != http.StatusOK || !q[0].Done.IsZero() {
		t.Errorf("the record of an open stream: %+v", q)
	}
}

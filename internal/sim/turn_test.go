package sim_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"toolhand/internal/sim"
)

func TestTurn(t *testing.T) {
	b := newBed(t, sim.Options{})
	sess := b.srv.Session("sesn_1")
	sess.Message("before the stream: not replayed")
	st := b.open(sess)
	const input = `{ "n": 9007199254740993, "s": "<&>", "f": 1.50 }`
	sess.Call(sim.CallSpec{Name: "a", Input: json.RawMessage(input), ID: "sevt_a"})
	sess.Call(sim.CallSpec{Name: "b", ID: "sevt_b"})
	sess.RequireAction()
	first := st.next()
	if !strings.Contains(first.raw, input) {
		t.Errorf("the input was changed: %s", first.raw)
	}
	st.expect("agent.custom_tool_use", "session.status_idle(sevt_a,sevt_b)")

	b.must("POST", eventsPath(sess), result("sevt_b"), nil)
	st.expect("user.custom_tool_result(queued)", "user.custom_tool_result", "session.status_idle(sevt_a)")
	if got := sess.Open(); !slices.Equal(got, []string{"sevt_a"}) {
		t.Errorf("open: %v", got)
	}
	b.must("POST", eventsPath(sess), result("sevt_a"), nil)
	two := st.expect("user.custom_tool_result(queued)", "user.custom_tool_result", "session.status_running")
	if two[0].ID != two[1].ID || two[0].CustomToolUseID != "sevt_a" {
		t.Errorf("the echoes differ: %+v", two)
	}
	sess.EndTurn()
	st.expect("session.status_idle(end_turn)")

	r, ok := b.srv.Result("sevt_a")
	if !ok || r.Text() != "done" || r.IsError || r.Session != "sesn_1" || r.EventID != two[0].ID {
		t.Errorf("result %+v", r)
	}
	if n := b.srv.Count("sesn_1", sim.Send); n != 2 {
		t.Errorf("%d sends", n)
	}
	if q := b.srv.Requests("sesn_1", sim.Send); len(q) != 2 || q[1].N != r.Request || !strings.Contains(string(q[1].Body), "sevt_a") || q[1].Status != 200 {
		t.Errorf("the record: %+v", q)
	}
}

func TestAnsweredBeforeIdleRunsOn(t *testing.T) {
	b := newBed(t, sim.Options{})
	sess := b.srv.Session("sesn_1")
	st := b.open(sess)
	id := sess.CallTool("a", `{}`)
	b.must("POST", eventsPath(sess), result(id), nil)
	sess.RequireAction(id)
	st.expect("agent.custom_tool_use", "user.custom_tool_result(queued)", "user.custom_tool_result", "session.status_running")
}

// TestRefusals checks each reason to refuse a send, and that a refused batch
// leaves nothing behind.
func TestRefusals(t *testing.T) {
	b := newBed(t, sim.Options{MaxBody: 2000})
	sess := b.srv.Session("sesn_1")
	open, done, dead := sess.CallTool("a", `{}`), sess.CallTool("a", `{}`), sess.CallTool("a", `{}`)
	ask := sess.Call(sim.CallSpec{Name: "bash", Permission: "ask"})
	b.must("POST", eventsPath(sess), result(done), nil)
	sub := sess.Thread("helper", "sthr_h")
	gone := sub.Call(sim.CallSpec{Name: "a"})
	sub.Terminate()
	other := b.srv.Session("sesn_2")
	dead2 := other.CallTool("a", `{}`)
	if err := other.Interrupt(""); err != nil {
		t.Fatal(err)
	}
	ended := b.srv.Session("sesn_3")
	endedID := ended.CallTool("a", `{}`)
	ended.Terminate()
	archived := b.srv.Session("sesn_4")
	archivedID := archived.CallTool("a", `{}`)
	archived.Archive()
	sess.Poison(dead, 422)

	block := func(content string) string {
		return `{"events":[{"type":"user.custom_tool_result","custom_tool_use_id":"` + open + `","content":` + content + `}]}`
	}
	before := len(sess.History())
	for name, c := range map[string]struct {
		on     *sim.Session
		body   string
		status int
		says   string
	}{
		"unknown call":      {sess, result("sevt_nobody"), 400, "sevt_nobody"},
		"answered":          {sess, result(done), 400, "already has a result"},
		"a good and a bad":  {sess, result(open, done), 400, "already has a result"},
		"twice":             {sess, result(open, open), 400, "twice"},
		"interrupted":       {other, result(dead2), 400, "interrupted"},
		"thread over":       {sess, result(gone), 400, "ended"},
		"terminated":        {ended, result(endedID), 400, "terminated"},
		"archived":          {archived, result(archivedID), 400, "archived"},
		"poisoned":          {sess, result(open, dead), 422, dead},
		"a tool_use":        {sess, result(ask), 400, "waits for"},
		"empty text":        {sess, block(`[{"type":"text","text":""}]`), 400, "events.0.content.0.text"},
		"no text":           {sess, block(`[{"type":"text"}]`), 400, "text"},
		"unknown block":     {sess, block(`[{"type":"video"}]`), 400, "video"},
		"content no array":  {sess, block(`"text"`), 400, "array"},
		"extra field":       {sess, block(`[{"type":"text","text":"x","more":1}]`), 400, "more"},
		"image, no source":  {sess, block(`[{"type":"image"}]`), 400, "source"},
		"empty base64":      {sess, block(`[{"type":"image","source":{"type":"base64","media_type":"image/png","data":""}}]`), 400, "data"},
		"no citations":      {sess, block(`[{"type":"search_result","source":"s","title":"t","content":[]}]`), 400, "citations"},
		"thread id sent":    {sess, strings.Replace(result(open), `"is_error"`, `"session_thread_id":"x","is_error"`, 1), 400, "session_thread_id"},
		"is_error a string": {sess, strings.Replace(result(open), `false`, `"no"`, 1), 400, "is_error"},
		"unknown event":     {sess, `{"events":[{"type":"user.dance"}]}`, 400, "user.dance"},
		"no events":         {sess, `{"events":[]}`, 400, "events"},
		"extra at the top":  {sess, `{"events":[],"key":"x"}`, 400, "key"},
		"no JSON":           {sess, `{"events":[`, 400, "object"},
		"too large":         {sess, block(`[{"type":"text","text":"` + strings.Repeat("x", 2000) + `"}]`), 413, "2000"},
		"no such thread":    {sess, `{"events":[{"type":"user.interrupt","session_thread_id":"sthr_x"}]}`, 400, "sthr_x"},
		"confirms a custom": {sess, `{"events":[{"type":"user.tool_confirmation","tool_use_id":"` + open + `","result":"allow"}]}`, 400, open},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.do("POST", eventsPath(c.on), c.body, garbage, "1")
			if a.status != c.status || !strings.Contains(a.message(), c.says) ||
				!strings.HasPrefix(a.message(), "invalid_request_error: ") {
				t.Errorf("%d %s, want %d with %q", a.status, a.body, c.status, c.says)
			}
		})
	}
	if n := len(sess.History()); n != before {
		t.Errorf("refused sends left %d events", n-before)
	}
	if _, ok := sess.Result(open); ok {
		t.Error("a refused batch left a result")
	}
	if len(sess.Refusals()) < 6 || len(archived.Refusals()) != 1 {
		t.Errorf("refusals: %v", sess.Refusals())
	}
	sess.Poison(dead, 0)
	b.must("POST", eventsPath(sess), result(open, dead), nil)
}

func TestAllBlocksAreTaken(t *testing.T) {
	b := newBed(t, sim.Options{})
	sess := b.srv.Session("sesn_1")
	id := sess.CallTool("a", `{}`)
	content := `[{"type":"text","text":"x"},
	{"type":"image","source":{"type":"url","url":"https://example.com/a.png"}},
	{"type":"document","title":null,"source":{"type":"text","media_type":"text/plain","data":"d"}},
	{"type":"search_result","source":"s","title":"t","content":[{"type":"text","text":"y"}],"citations":{"enabled":true}}]`
	b.must("POST", eventsPath(sess), `{"events":[{"type":"user.custom_tool_result","custom_tool_use_id":"`+id+`","content":`+content+`,"is_error":true}]}`, nil)
	if r, _ := sess.Result(id); string(r.Content) != content || !r.IsError {
		t.Errorf("result %+v", r)
	}
	b.must("GET", eventsPath(sess), "", nil) // which is held against the document
}

func TestInterrupts(t *testing.T) {
	b := newBed(t, sim.Options{})
	sess := b.srv.NewSession(sim.SessionSpec{ID: "sesn_1", PrimaryThread: true})
	st := b.open(sess)
	sub := sess.Thread("helper", "sthr_h")
	st.expect("session.thread_created", "session.thread_status_running")
	mine, theirs := sess.CallTool("a", `{}`), sub.Call(sim.CallSpec{Name: "a"})
	sess.RequireAction()
	sub.RequireAction()
	got := st.expect("agent.custom_tool_use", "agent.custom_tool_use",
		"session.thread_status_idle("+mine+")", "session.status_idle("+mine+")", "session.thread_status_idle("+theirs+")")
	if got[0].SessionThreadID != "" || got[1].SessionThreadID != "sthr_h" ||
		got[2].SessionThreadID != sess.Primary().ID() || got[4].SessionThreadID != "sthr_h" {
		t.Errorf("threads: %+v", got)
	}
	sess.HoldQueue()
	b.must("POST", eventsPath(sess), `{"events":[{"type":"user.interrupt","session_thread_id":"`+sess.Primary().ID()+`"}]}`, nil)
	st.expect("user.interrupt(queued)")
	if open := sess.Open(); len(open) != 2 {
		t.Fatalf("a queued interrupt left %v", open)
	}
	sess.Process()
	st.expect("user.interrupt", "session.thread_status_idle(end_turn)", "session.status_idle(end_turn)")
	if open := sess.Open(); !slices.Equal(open, []string{theirs}) {
		t.Errorf("the interrupt of the primary thread left %v", open)
	}
	b.must("POST", eventsPath(sess), result(theirs), nil)
	last := st.expect("user.custom_tool_result(queued)", "user.custom_tool_result", "session.thread_status_running")
	if last[1].SessionThreadID != "sthr_h" {
		t.Errorf("the echo lacks its thread: %s", last[1].raw)
	}
	later := sess.CallTool("a", `{}`)
	st.next()
	b.must("POST", eventsPath(sess), result(later), nil)
}

func TestConfirmationsAreMixedIn(t *testing.T) {
	b := newBed(t, sim.Options{})
	sess := b.srv.Session("sesn_1")
	st := b.open(sess)
	custom := sess.CallTool("a", `{}`)
	ask := sess.Call(sim.CallSpec{Name: "bash", Permission: "ask"})
	sess.Call(sim.CallSpec{Name: "bash", Permission: "allow"})
	sess.RequireAction()
	st.expect("agent.custom_tool_use", "agent.tool_use", "agent.tool_use", "session.status_idle("+custom+","+ask+")")
	b.must("POST", eventsPath(sess), result(custom), nil)
	st.expect("user.custom_tool_result(queued)", "user.custom_tool_result", "session.status_idle("+ask+")")
	if err := sess.Confirm(ask, "allow"); err != nil {
		t.Fatal(err)
	}
	st.expect("user.tool_confirmation(queued)", "user.tool_confirmation", "session.status_running")
}

func TestLifecycle(t *testing.T) {
	b := newBed(t, sim.Options{})
	sess := b.srv.Session("sesn_1")
	st := b.open(sess)
	b.must("POST", eventsPath(sess), `{"events":[{"type":"user.message","content":[{"type":"text","text":"hi"}]}]}`, nil)
	st.expect("user.message(queued)", "user.message", "session.status_running")
	sess.Error("a hiccup")
	sess.Reschedule()
	sess.Idle("retries_exhausted")
	st.expect("session.error", "session.status_rescheduled", "session.status_idle(retries_exhausted)")
	sess.Terminate()
	st.expect("session.status_terminated")
	var shown struct{ Status string }
	b.must("GET", "/v1/sessions/sesn_1", "", &shown)
	if shown.Status != "terminated" {
		t.Errorf("status %s", shown.Status)
	}
	b.must("DELETE", "/v1/sessions/sesn_1", "", nil)
	st.expect("session.deleted")
	if g, err := st.tryNext(); err == nil {
		t.Errorf("a deleted session goes on with %s", g.raw)
	}
	for _, path := range []string{"", "/events", "/events/stream"} {
		if a := b.do("GET", "/v1/sessions/sesn_1"+path, ""); a.status != http.StatusNotFound || !strings.HasPrefix(a.message(), "not_found_error") {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

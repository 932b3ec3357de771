package sim_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"toolhand/internal/sim"
)

// A script's calls that need permission: the result of one is refused before a
// user has allowed it, the others of the turn are answered meanwhile, and what is
// denied is waited for by nobody.
func TestScriptWithPermissions(t *testing.T) {
	script, err := sim.ParseScript("x.yaml", []byte(`
attach: false
steps:
  - calls:
      - { name: pay, id: sevt_ask, evaluated_permission: ask }
      - { name: pay, id: sevt_no, evaluated_permission: perhaps }
      - { name: pay, id: sevt_never, evaluated_permission: deny }
      - { name: look, id: sevt_free, evaluated_permission: allow }
  - expect: { within: 10s, results: [{ call: sevt_free }] }
  - confirm: { call: sevt_no, result: deny, deny_message: too much }
  - confirm: { call: sevt_ask }
  - expect: { within: 10s, results: [{ call: sevt_ask }] }
  - end_turn
`))
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(t, sim.Options{})
	b.srv.Prepare(script)
	sess := b.srv.Session("sesn_sim")
	st := b.open(sess)
	played := make(chan error, 1)
	go func() { played <- b.srv.Play(b.ctx, script) }()
	for { // a worker that tries to answer whatever the session waits for
		e, err := st.tryNext()
		if err != nil {
			t.Fatal(err)
		}
		if e.StopReason.Type == "end_turn" {
			break
		}
		for _, id := range e.StopReason.EventIDs {
			b.do("POST", eventsPath(sess), result(id))
		}
	}
	if err := <-played; err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range sess.History() {
		var v struct {
			ID         string
			Permission string `json:"evaluated_permission"`
			Call       string `json:"custom_tool_use_id"`
			Tool       string `json:"tool_use_id"`
			Result     string
			Why        string `json:"deny_message"`
			Stop       struct {
				IDs []string `json:"event_ids"`
			} `json:"stop_reason"`
		}
		if err := json.Unmarshal(e.Data, &v); err != nil {
			t.Fatal(err)
		}
		switch e.Type {
		case "agent.custom_tool_use":
			got = append(got, fmt.Sprint("call ", v.ID, " ", v.Permission))
		case "user.custom_tool_result":
			got = append(got, "result "+v.Call)
		case "user.tool_confirmation":
			got = append(got, strings.TrimSpace(fmt.Sprint(v.Result, " ", v.Tool, " ", v.Why)))
		case "session.status_idle":
			got = append(got, strings.TrimSpace(fmt.Sprint("idle ", strings.Join(v.Stop.IDs, " "))))
		}
	}
	want := []string{
		"call sevt_ask ask", "call sevt_no perhaps", "call sevt_never deny", "call sevt_free allow",
		"idle sevt_ask sevt_no sevt_free", "result sevt_free", "idle sevt_ask sevt_no",
		"deny sevt_no too much", "idle sevt_ask", "allow sevt_ask",
	}
	all := strings.Join(got, "\n")
	if !strings.HasPrefix(all, strings.Join(want, "\n")) || !strings.Contains(all, "result sevt_ask") {
		t.Errorf("got\n%s\nwant\n%s and the result of sevt_ask", all, strings.Join(want, "\n"))
	}
}

func TestResultBeforePermissionIsRefused(t *testing.T) {
	b := newBed(t, sim.Options{})
	sess := b.srv.Session("sesn_1")
	ask := sess.Call(sim.CallSpec{Name: "a", Evaluated: "ask"})
	plain := sess.CallTool("a", `{}`)
	denied := sess.Call(sim.CallSpec{Name: "a", Evaluated: "deny"})
	confirm := func(id, verdict string) string {
		return `{"events":[{"type":"user.tool_confirmation","tool_use_id":"` + id + `","result":"` + verdict + `"}]}`
	}
	for _, step := range []struct {
		body   string
		status int
	}{
		{result(ask), 400}, {result(denied), 400}, {confirm(plain, "allow"), 400}, {confirm(denied, "allow"), 400},
		{confirm(ask, "allow"), 200}, {confirm(ask, "deny"), 400}, {result(ask), 200}, {result(ask), 400}, {result(plain), 200},
	} {
		if got := b.do("POST", eventsPath(sess), step.body); got.status != step.status {
			t.Errorf("%s: %d, want %d", step.body, got.status, step.status)
		}
	}
}

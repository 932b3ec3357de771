package sim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"toolhand/internal/sim"
)

func TestHeaders(t *testing.T) {
	b := newBed(t, sim.Options{Key: "key"})
	b.srv.Session("sesn_1")
	for name, c := range map[string]struct {
		header []string
		status int
		kind   string
	}{
		"key":        {nil, 200, ""},
		"old header": {[]string{"Authorization", "", "X-Api-Key", "key"}, 200, ""},
		"both":       {[]string{"X-Api-Key", "key"}, 401, "authentication_error"},
		"neither":    {[]string{"Authorization", ""}, 401, "authentication_error"},
		"wrong":      {[]string{"Authorization", "Bearer other"}, 401, "authentication_error"},
		"no version": {[]string{"Anthropic-Version", ""}, 400, "invalid_request_error"},
		"no beta":    {[]string{"Anthropic-Beta", "x"}, 400, "invalid_request_error"},
		"betas":      {[]string{"Anthropic-Beta", "x, managed-agents-2026-04-01"}, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.do("GET", "/v1/sessions/sesn_1", "", append(c.header, garbage, "1")...)
			if a.status != c.status || c.kind != "" && !strings.HasPrefix(a.message(), c.kind) {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	b.srv.SetKey("new")
	if a := b.do("GET", "/v1/sessions/sesn_1", ""); a.status != 401 {
		t.Errorf("the old key gives %d", a.status)
	}
}

type page struct {
	Data     []got  `json:"data"`
	NextPage string `json:"next_page"`
}

// pages reads a whole list, page by page.
func (b *bed) pages(path string, q url.Values) (ids []string, pages int) {
	b.t.Helper()
	for {
		var p page
		b.must("GET", path+"?"+q.Encode(), "", &p)
		for _, e := range p.Data {
			ids = append(ids, e.ID)
		}
		pages++
		if p.NextPage == "" {
			return ids, pages
		}
		q.Set("page", p.NextPage)
	}
}

func TestHistory(t *testing.T) {
	b := newBed(t, sim.Options{})
	sess := b.srv.Session("sesn_1")
	var calls, all []string
	for i := range 25 {
		sess.Message("text")
		calls = append(calls, sess.CallTool("a", fmt.Sprintf(`{"i":%d}`, i)))
	}
	sess.HoldQueue()
	b.must("POST", eventsPath(sess), result(calls[0]), nil)
	for _, e := range sess.History() {
		all = append(all, e.ID)
	}
	queued := all[50]
	middle := sess.History()[20]
	at := middle.ProcessedAt.Format(time.RFC3339Nano)
	backwards := func(ids []string) []string {
		ids = slices.Clone(ids)
		slices.Reverse(ids)
		return ids
	}
	for name, c := range map[string]struct {
		query string
		want  []string
		pages int
	}{
		"all":           {"", all, 1},
		"pages":         {"limit=7", all, 8},
		"exact pages":   {"limit=17", all, 3},
		"newest first":  {"limit=10&order=desc", backwards(all), 6},
		"one type":      {"types[]=agent.custom_tool_use&limit=10", calls, 3},
		"types, newest": {"types[]=agent.custom_tool_use&types[]=user.custom_tool_result&order=desc&limit=4", append([]string{queued}, backwards(calls)...), 7},
		"none of them":  {"types[]=session.error", nil, 1},
		"gte":           {"created_at[gte]=" + at, all[20:50], 1},
		"gt":            {"created_at[gt]=" + at, all[21:50], 1},
		"lt":            {"created_at[lt]=" + at + "&limit=9", all[:20], 3},
		"lte, newest":   {"created_at[lte]=" + at + "&order=desc&limit=20", backwards(all[:21]), 2},
		"between":       {"created_at[gte]=" + at + "&created_at[lte]=" + at, all[20:21], 1},
		"the same type": {"types[]=agent.custom_tool_use&types[]=agent.custom_tool_use", calls, 1},
	} {
		t.Run(name, func(t *testing.T) {
			q, err := url.ParseQuery(c.query)
			if err != nil {
				t.Fatal(err)
			}
			ids, pages := b.pages(eventsPath(sess), q)
			if !slices.Equal(ids, c.want) || pages != c.pages {
				t.Errorf("%d pages, want %d\n%v\nwant %v", pages, c.pages, ids, c.want)
			}
		})
	}
	for _, query := range []string{
		"limit=0", "limit=1001", "limit=x", "order=up", "types[]=session.deleted", "types[]=x",
		"created_at[gt]=yesterday", "page=x", "page=page_eA", "after=1",
	} {
		if a := b.do("GET", eventsPath(sess)+"?"+query, "", garbage, "1"); a.status != 400 || !strings.HasPrefix(a.message(), "invalid_request_error") {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
	sess.Process()
	ids, _ := b.pages(eventsPath(sess), url.Values{"order": {"desc"}, "limit": {"1000"}})
	if ids[0] != queued || len(ids) != len(all) {
		t.Errorf("after processing: %v", ids[:3])
	}
}

func TestEmitAndBury(t *testing.T) {
	b := newBed(t, sim.Options{})
	sess := b.srv.Session("sesn_1")
	st := b.open(sess)
	sess.Message("now")
	old := `{"type":"agent.thinking","id":"sevt_old","processed_at":"2020-01-01T00:00:00Z"}`
	if err := sess.Bury(json.RawMessage(old)); err != nil {
		t.Fatal(err)
	}
	shown := `{"type":"agent.thinking","id":"sevt_now","processed_at":"2020-01-01T00:00:01Z"}`
	if err := sess.Emit(json.RawMessage(shown)); err != nil {
		t.Fatal(err)
	}
	if err := sess.Emit(json.RawMessage(`[]`)); err == nil {
		t.Error("an array was emitted")
	}
	st.expect("agent.message", "agent.thinking")
	ids, _ := b.pages(eventsPath(sess), url.Values{})
	if len(ids) != 3 || ids[0] != "sevt_old" || ids[1] != "sevt_now" {
		t.Errorf("history: %v", ids)
	}
}

func TestSessions(t *testing.T) {
	b := newBed(t, sim.Options{})
	var want []string
	for i := range 45 {
		agent := "agent_a"
		if i%3 == 0 {
			agent = "agent_b"
		}
		s := b.srv.NewSession(sim.SessionSpec{ID: fmt.Sprintf("sesn_%02d", i), Agent: agent, Title: "t"})
		if i%3 != 0 && i%2 == 0 {
			s.Run()
			want = append([]string{s.ID()}, want...)
		}
	}
	ids, pages := b.pages("/v1/sessions", url.Values{"agent_id": {"agent_a"}, "statuses[]": {"running", "terminated"}, "limit": {"4"}})
	if !slices.Equal(ids, want) || pages != 4 {
		t.Errorf("%d pages: %v, want %v", pages, ids, want)
	}
	if ids, pages = b.pages("/v1/sessions", url.Values{}); len(ids) != 45 || pages != 3 || ids[0] != "sesn_44" {
		t.Errorf("%d pages of %d", pages, len(ids))
	}
	b.srv.Session("sesn_44").Archive()
	b.srv.Session("sesn_43").Delete()
	if ids, _ = b.pages("/v1/sessions", url.Values{}); len(ids) != 43 {
		t.Errorf("%d sessions", len(ids))
	}
	if ids, _ = b.pages("/v1/sessions", url.Values{"include_archived": {"true"}}); len(ids) != 44 {
		t.Errorf("%d sessions with archived ones", len(ids))
	}
	if a := b.do("GET", "/v1/sessions?statuses[]=asleep", "", garbage, "1"); a.status != 400 {
		t.Errorf("an unknown status gives %d", a.status)
	}
}

func TestAgents(t *testing.T) {
	b := newBed(t, sim.Options{})
	b.srv.Agent(sim.AgentSpec{ID: "agent_a", Tools: []sim.Tool{{Name: "x", Description: "d", InputSchema: json.RawMessage(`{"type":"object","required":["p"]}`)}}})
	b.srv.NewSession(sim.SessionSpec{ID: "sesn_1", Agent: "agent_a"})
	type agent struct {
		Version int
		Tools   []struct {
			Name   string
			Schema json.RawMessage `json:"input_schema"`
		}
	}
	var a agent
	b.must("GET", "/v1/agents/agent_a", "", &a)
	if a.Version != 1 || a.Tools[0].Name != "x" || !strings.Contains(string(a.Tools[0].Schema), "required") {
		t.Errorf("agent %+v", a)
	}
	update := `{"version":1,"tools":[{"type":"custom","name":"y","description":"d","input_schema":{"type":"object"}}]}`
	b.must("POST", "/v1/agents/agent_a", update, &a)
	if a.Version != 2 || len(a.Tools) != 1 || a.Tools[0].Name != "y" {
		t.Errorf("updated agent %+v", a)
	}
	var s struct{ Agent agent }
	b.must("GET", "/v1/sessions/sesn_1", "", &s)
	if s.Agent.Version != 1 || s.Agent.Tools[0].Name != "x" {
		t.Errorf("the session's agent %+v", s.Agent)
	}
	if r := b.do("POST", "/v1/agents/agent_a", update); r.status != http.StatusConflict {
		t.Errorf("an old version gives %d", r.status)
	}
	if r := b.do("GET", "/v1/agents/agent_x", ""); r.status != http.StatusNotFound {
		t.Errorf("an unknown agent gives %d", r.status)
	}
	for _, body := range []string{`{"tools":[{"type":"custom"}]}`, `{"mood":1}`, `[]`} {
		if r := b.do("POST", "/v1/agents/agent_a", body, garbage, "1"); r.status != http.StatusBadRequest {
			t.Errorf("%s gives %d", body, r.status)
		}
	}
}

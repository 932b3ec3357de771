package apispec

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const at = `"processed_at":"2026-01-02T03:04:05.000001Z"`

func TestStreamEvent(t *testing.T) {
	spec := Load(t)
	for name, c := range map[string]struct{ data, wrong string }{
		"call":          {`{"type":"agent.custom_tool_use","id":"sevt_1","name":"x","input":{"n":9007199254740993},` + at + `}`, ""},
		"no name":       {`{"type":"agent.custom_tool_use","id":"sevt_1","input":{},` + at + `}`, "name"},
		"more":          {`{"type":"agent.custom_tool_use","id":"sevt_1","name":"x","input":{},"more":1,` + at + `}`, "more"},
		"permission":    {`{"type":"agent.custom_tool_use","id":"sevt_1","name":"x","input":{},"evaluated_permission":"perhaps",` + at + `}`, ""},
		"no permission": {`{"type":"agent.custom_tool_use","id":"sevt_1","name":"x","input":{},"evaluated_permission":7,` + at + `}`, "evaluated_permission"},
		"on a message":  {`{"type":"agent.message","id":"sevt_1","content":[],"evaluated_permission":"ask",` + at + `}`, "evaluated_permission"},
		"unknown type":  {`{"type":"agent.dreams","id":"sevt_1",` + at + `}`, "/type"},
		"no type":       {`{"id":"sevt_1"}`, "type"},
		"no time":       {`{"type":"session.deleted","id":"sevt_1","processed_at":"today"}`, "date-time"},
		"queued":        {`{"type":"user.interrupt","id":"sevt_1","processed_at":null}`, ""},
		"queued call":   {`{"type":"agent.thinking","id":"sevt_1","processed_at":null}`, "processed_at"},
		"no stop":       {`{"type":"session.status_idle","id":"sevt_1",` + at + `,"stop_reason":{"type":"end_turn"}}`, "stop_details"},
		"idle":          {`{"type":"session.status_idle","id":"sevt_1",` + at + `,"stop_details":null,"stop_reason":{"type":"requires_action","event_ids":["a"]}}`, ""},
		"idle, new":     {`{"type":"session.status_idle","id":"sevt_1",` + at + `,"stop_details":null,"stop_reason":{"type":"bored"}}`, "stop_reason"},
		"not JSON":      {`{`, "no JSON"},
		"two values":    {`{} {}`, "more than one"},
		"empty message": {`{"type":"agent.message","id":"sevt_1",` + at + `,"content":[{"type":"text","text":""}]}`, "text"},
	} {
		t.Run(name, func(t *testing.T) { verdict(t, spec.StreamEvent([]byte(c.data)), c.wrong) })
	}
}

func verdict(t *testing.T, err error, wrong string) {
	t.Helper()
	switch {
	case wrong == "" && err != nil:
		t.Errorf("refused: %v", err)
	case wrong != "" && err == nil:
		t.Error("accepted")
	case wrong != "" && !strings.Contains(err.Error(), wrong):
		t.Errorf("the error %q does not say %q", err, wrong)
	}
}

// request makes one with the headers that the API needs.
func request(method, target string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.Header.Set("Authorization", "Bearer k")
	r.Header.Set("Anthropic-Version", "2023-06-01")
	r.Header.Set("Anthropic-Beta", "other, managed-agents-2026-04-01")
	return r
}

func TestRequest(t *testing.T) {
	spec := Load(t)
	const list = "/v1/sessions/sesn_1/events"
	send := func(text string) string {
		return `{"events":[{"type":"user.custom_tool_result","custom_tool_use_id":"sevt_1","content":[` + text + `]}]}`
	}
	for name, c := range map[string]struct {
		method, target, body string
		change               func(http.Header)
		wrong                string
	}{
		"list":           {"GET", list + "?beta=true&limit=10&order=desc&types[]=user.message&types[]=agent.message", "", nil, ""},
		"time":           {"GET", list + "?created_at[gte]=2026-01-02T03:04:05Z", "", nil, ""},
		"bad time":       {"GET", list + "?created_at[gte]=yesterday", "", nil, "created_at"},
		"bad limit":      {"GET", list + "?limit=ten", "", nil, "limit"},
		"bad order":      {"GET", list + "?order=up", "", nil, "order"},
		"bad type":       {"GET", list + "?types[]=session.deleted", "", nil, "types[]"},
		"unknown query":  {"GET", list + "?after=1", "", nil, "after"},
		"unknown path":   {"GET", "/v1/sessions/sesn_1/secrets", "", nil, "no GET"},
		"stream":         {"GET", list + "/stream", "", nil, ""},
		"body on get":    {"GET", list, "{}", nil, "takes none"},
		"send":           {"POST", list, send(`{"type":"text","text":"x"}`), nil, ""},
		"empty text":     {"POST", list, send(`{"type":"text","text":""}`), nil, "text"},
		"unknown block":  {"POST", list, send(`{"type":"video"}`), nil, "type"},
		"no body":        {"POST", list, "", nil, "body"},
		"two keys":       {"GET", list, "", func(h http.Header) { h.Add("Authorization", "Bearer x") }, "authorization"},
		"an old key":     {"GET", list, "", func(h http.Header) { h.Set("X-Api-Key", "x") }, "x-api-key"},
		"no key":         {"GET", list, "", func(h http.Header) { h.Del("Authorization") }, "authorization"},
		"no version":     {"GET", list, "", func(h http.Header) { h.Del("Anthropic-Version") }, "anthropic-version"},
		"no beta":        {"GET", list, "", func(h http.Header) { h.Set("Anthropic-Beta", "other") }, "managed-agents"},
		"sessions":       {"GET", "/v1/sessions?agent_id=a&statuses[]=idle&statuses[]=running", "", nil, ""},
		"unknown status": {"GET", "/v1/sessions?statuses[]=asleep", "", nil, "statuses"},
		"update":         {"POST", "/v1/agents/a", `{"tools":[{"type":"custom","name":"x","description":"y","input_schema":{"type":"object"}}]}`, nil, ""},
		"bad update":     {"POST", "/v1/agents/a", `{"tools":[{"type":"custom","name":"x"}]}`, nil, "description"},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(c.method, c.target)
			if c.change != nil {
				c.change(r.Header)
			}
			verdict(t, spec.Request(r, []byte(c.body)), c.wrong)
		})
	}
}

func TestResponse(t *testing.T) {
	spec := Load(t)
	const list = "/v1/sessions/sesn_1/events"
	refused := `{"type":"error","error":{"type":"not_found_error","message":"m"},"request_id":"r"}`
	for name, c := range map[string]struct {
		status      int
		body, wrong string
	}{
		"page":           {200, `{"data":[],"next_page":null}`, ""},
		"bad page":       {200, `{"data":{}}`, "data"},
		"bad event":      {200, `{"data":[{"type":"session.deleted","id":7,` + at + `}]}`, "/data/0/id"},
		"refused":        {404, refused, ""},
		"unlisted":       {529, strings.Replace(refused, "not_found", "overloaded", 1), ""},
		"no request id":  {404, `{"type":"error","error":{"type":"not_found_error","message":"m"}}`, "request_id"},
		"unknown error":  {404, strings.Replace(refused, "not_found_error", "gone", 1), "type"},
		"unlisted state": {204, ``, "does not answer 204"},
	} {
		t.Run(name, func(t *testing.T) {
			verdict(t, spec.Response("GET", list, c.status, []byte(c.body)), c.wrong)
		})
	}
}

// reports collects what Wrap reports.
type reports struct{ all []string }

func (r *reports) Helper() {}
func (r *reports) Errorf(format string, args ...any) {
	r.all = append(r.all, fmt.Sprintf(format, args...))
}

func TestWrapReportsWhatIsWrong(t *testing.T) {
	spec := Load(t)
	const stream = "/v1/sessions/sesn_1/events/stream"
	good := "event: ping\ndata: {}\n\n: comment\n\nevent: session.deleted\ndata: {\"type\":\"session.deleted\",\ndata: \"id\":\"x\"," + at + "}\n\n"
	for name, c := range map[string]struct {
		target, kind, body string
		reports            int
	}{
		"good stream":  {stream, "text/event-stream", good, 0},
		"bad event":    {stream, "text/event-stream; charset=utf-8", good + "data: {}\n\n" + good, 1},
		"bad response": {"/v1/sessions/sesn_1", "application/json", `{}`, 1},
		"bad request":  {"/v1/sessions/sesn_1?x=1", "application/json", `{}`, 2},
		"skipped":      {"/v1/sessions/sesn_1?skip=1", "application/json", `{}`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var got reports
			h := spec.Wrap(&got, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", c.kind)
				for _, half := range []string{c.body[:len(c.body)/2], c.body[len(c.body)/2:]} {
					_, _ = w.Write([]byte(half))
				}
			}), func(r *http.Request) bool { return r.URL.Query().Has("skip") })
			w := httptest.NewRecorder()
			h.ServeHTTP(w, request("GET", c.target))
			if len(got.all) != c.reports {
				t.Errorf("%d reports, want %d: %q", len(got.all), c.reports, got.all)
			}
			if w.Body.String() != c.body {
				t.Errorf("the body became %q", w.Body)
			}
		})
	}
}

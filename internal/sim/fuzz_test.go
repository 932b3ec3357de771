package sim_test

import (
	"bytes"
	"net/http/httptest"
	"testing"

	"toolhand/internal/apispec"
	"toolhand/internal/sim"
)

// FuzzSend: what the simulation takes, the official document takes too, and
// what it then shows breaks nothing.
func FuzzSend(f *testing.F) {
	for _, seed := range []string{
		result("sevt_a"), result("sevt_a", "sevt_b"), result("sevt_x"),
		`{"events":[{"type":"user.message","content":[{"type":"text","text":"hi"},{"type":"document","source":{"type":"text","media_type":"text/plain","data":"d"},"title":null}]}]}`,
		`{"events":[{"type":"user.interrupt","session_thread_id":null},{"type":"system.message","content":[{"type":"text","text":"x"}]}]}`,
		`{"events":[{"type":"user.tool_confirmation","tool_use_id":"sevt_c","result":"deny","deny_message":"no"}]}`,
		`{"events":[{"type":"user.custom_tool_result","custom_tool_use_id":"sevt_b","content":[{"type":"search_result","source":"s","title":"t","content":[],"citations":{"enabled":true}},{"type":"image","source":{"type":"file","file_id":"f"}}],"is_error":null}]}`,
		`{"events":[]}`, `{"events":[{"type":7}]}`, `null`, `[]`, `{"events":null}`, `{"Events":[]}`,
		`{"events":[{"type":"user.interrupt","TYPE":"x"}]}`,
	} {
		f.Add([]byte(seed))
	}
	spec := apispec.Load(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		srv := sim.New(sim.Options{})
		sess := srv.Session("sesn_1")
		sess.Call(sim.CallSpec{Name: "a", ID: "sevt_a"})
		sess.Call(sim.CallSpec{Name: "b", ID: "sevt_b"})
		sess.Call(sim.CallSpec{Name: "c", ID: "sevt_c", Permission: "ask"})
		sess.RequireAction()
		before := len(sess.History())
		r := direct(t.Context(), "POST", "/v1/sessions/sesn_1/events")
		r.Body = noClose{bytes.NewReader(body)}
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, r)
		if err := spec.Response("POST", r.URL.Path, w.Code, w.Body.Bytes()); err != nil {
			t.Errorf("the answer to %q: %v", body, err)
		}
		if w.Code != 200 {
			if len(sess.History()) != before {
				t.Errorf("%q was refused and left something behind", body)
			}
			return
		}
		if err := spec.Request(direct(t.Context(), "POST", r.URL.Path), body); err != nil {
			t.Errorf("%q was taken: %v", body, err)
		}
		for _, e := range sess.History() {
			if err := spec.StreamEvent(e.Data); err != nil {
				t.Errorf("%s: %v", e.Data, err)
			}
		}
	})
}

type noClose struct{ *bytes.Reader }

func (noClose) Close() error { return nil }

// FuzzParseScript: whatever the file holds, there is a script or an error that
// names the file.
func FuzzParseScript(f *testing.F) {
	for _, seed := range []string{
		"steps:\n  - message: a\n  - calls: [{ name: a, input: { x: 1 } }]\n  - expect\n",
		"steps:\n  - fail: { endpoint: send, status: 429 }\n  - cut_stream: reset\n",
		"agent: { tools: [{ name: a, description: b }] }\nsteps: []", "steps: [", "a: &x [*x]", "? a\n: b", "<<: {a: 1}", "steps:\n- ? {a: b}\n  : c",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := sim.ParseScript("x.yaml", data)
		if err != nil && !bytes.HasPrefix([]byte(err.Error()), []byte("x.yaml")) {
			t.Errorf("%q: %v", data, err)
		}
	})
}

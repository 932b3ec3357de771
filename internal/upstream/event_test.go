package upstream

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestDecode(t *testing.T) {
	at := time.Date(2026, 5, 11, 12, 0, 5, 123456000, time.UTC)
	const when = `"processed_at":"2026-05-11T12:00:05.123456Z"`
	for name, c := range map[string]struct {
		in   string
		want Event
	}{
		"a call": {`{"type":"agent.custom_tool_use","id":"sevt_1","name":"a","session_thread_id":"sthr_1","input":{ "n": 9007199254740993 },` + when + `}`,
			Event{Type: TypeCall, ID: "sevt_1", Name: "a", Thread: "sthr_1", Input: []byte(`{ "n": 9007199254740993 }`), ProcessedAt: at}},
		"a call, new fields, nulls": {`{"new":{"id":"x"},"type":"agent.custom_tool_use","id":"sevt_1","name":"a","session_thread_id":null,"input":{},"processed_at":null}`,
			Event{Type: TypeCall, ID: "sevt_1", Name: "a", Input: []byte(`{}`)}},
		"a call with escapes": {`{"type":"agent.custom_tool_use","id":"sevt_\u0031","name":"a\"b","input":{}}`,
			Event{Type: TypeCall, ID: "sevt_1", Name: `a"b`, Input: []byte(`{}`)}},
		"a call that asks": {`{"type":"agent.custom_tool_use","id":"sevt_1","name":"a","input":{"evaluated_permission":"allow"},"evaluated_permission":"ask"}`,
			Event{Type: TypeCall, ID: "sevt_1", Name: "a", Input: []byte(`{"evaluated_permission":"allow"}`), Permission: "ask"}},
		"a call, no permission told": {`{"type":"agent.custom_tool_use","id":"sevt_1","name":"a","input":{},"evaluated_permission":null}`,
			Event{Type: TypeCall, ID: "sevt_1", Name: "a", Input: []byte(`{}`)}},
		"a call, odd permission": {`{"type":"agent.custom_tool_use","id":"sevt_1","name":"a","input":{},"evaluated_permission":{"type":"allow"}}`,
			Event{Type: TypeCall, ID: "sevt_1", Name: "a", Input: []byte(`{}`), Permission: `{"type":"allow"}`}},
		"a confirmation": {`{"type":"user.tool_confirmation","id":"sevt_2","tool_use_id":"sevt_1","result":"allow","deny_message":null,` + when + `}`,
			Event{Type: TypeConfirmation, ID: "sevt_2", CallID: "sevt_1", Permission: "allow", ProcessedAt: at}},
		"a call without id":   {`{"type":"agent.custom_tool_use","name":"a","input":{}}`, Event{}},
		"a call without name": {`{"type":"agent.custom_tool_use","id":"sevt_1","input":{}}`, Event{}},
		"a result": {`{"type":"user.custom_tool_result","id":"sevt_2","custom_tool_use_id":"sevt_1","content":[{"type":"text","text":"id"}],` + when + `}`,
			Event{Type: TypeResult, ID: "sevt_2", CallID: "sevt_1", ProcessedAt: at}},
		"an interrupt, queued": {`{"type":"user.interrupt","id":"","processed_at":null}`, Event{Type: TypeInterrupt}},
		"idle": {`{"type":"session.status_idle","id":"s","stop_reason":{"type":"requires_action","event_ids":["a","b"]}}`,
			Event{Type: TypeIdle, ID: "s", StopReason: StopRequiresAction, EventIDs: []string{"a", "b"}}},
		"idle, unknown reason": {`{"type":"session.status_idle","id":"s","stop_reason":{"type":"bored"}}`, Event{Type: TypeIdle, ID: "s", StopReason: "bored"}},
		"an error":             {`{"type":"session.error","id":"s","error":{"type":"billing_error","message":"oh"}}`, Event{Type: TypeSessionError, ID: "s", ErrorType: "billing_error", Message: "oh"}},
		"a message":            {`{"type":"agent.message","id":"s","content":[]}`, Event{Type: TypeMessage}},
		"an unknown type":      {`{"type":"agent.dreams","id":"s"}`, Event{Type: "agent.dreams"}},
		"no type":              {`{"id":"s"}`, Event{Type: "untyped"}},
		"no object":            {`[1]`, Event{Type: "untyped"}},
		"broken":               {`{"type":"agent.custom_tool_use","id":"s`, Event{}},
		"broken in its type":   {`{"type":"agent.cus`, Event{}},
		"broken before":        {`{"id":"s`, Event{}},
		"a quote is lost":      {`{"type":"agent.custom_tool_use,"id":"s"}`, Event{}},
		"no JSON":              {`<h1>hello</h1>`, Event{}},
		"time is nonsense":     {`{"type":"user.interrupt","id":"s","processed_at":"soon"}`, Event{Type: TypeInterrupt, ID: "s"}},
		"fields of odd types": {`{"type":"session.status_idle","id":7,"stop_reason":"end"}`,
			Event{Type: TypeIdle}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := decode([]byte(c.in)); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v\nwant %+v", got, c.want)
			}
		})
	}
}

// What is kept of an event does not keep the stream's buffer: it is written over.
func TestDecodeKeepsNothing(t *testing.T) {
	data := []byte(`{"type":"agent.custom_tool_use","id":"sevt_1","name":"a","session_thread_id":"sthr_1","input":{"x":1}}`)
	e := decode(data)
	for i := range data {
		data[i] = '#'
	}
	if e.ID != "sevt_1" || e.Name != "a" || e.Thread != "sthr_1" || string(e.Input) != `{"x":1}` {
		t.Errorf("%+v", e)
	}
}

func TestShorten(t *testing.T) {
	for _, s := range []string{"", "abc", strings.Repeat("ü", 400), strings.Repeat("日本", 200)} {
		if got := shorten(s, 300); !utf8.ValidString(got) || len(got) > 303 {
			t.Errorf("%q became %q", s, got)
		}
	}
}

// FuzzDecode: no panic, and a call has what a worker needs.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"type":"agent.custom_tool_use","id":"s","name":"a","input":{}}`))
	f.Add([]byte(`{"type":"session.status_idle","stop_reason":{"event_ids":[1,null,{}]}}`))
	f.Add([]byte(`{"type":`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if e := decode(data); e.Type == TypeCall && (e.ID == "" || e.Name == "") {
			t.Errorf("%+v", e)
		}
	})
}

package sim

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"toolhand/internal/document"
)

// everyKey uses each key and each step of the form.
const everyKey = `
agent: { id: a, name: b, model: c, system: d, tools: [{ name: e, description: f, input_schema: { type: object } }] }
session: s
sessions: 2
repeat: forever
pace: 1ms
attach: false
steps:
  - user: text
  - message: text
  - message: { text: text, thread: t }
  - call: { name: n, input: {}, id: i, thread: t, delay: 1ms, permission: ask }
  - calls: [{ name: n, input_json: '{}', evaluated_permission: ask }]
  - confirm: { call: i, result: deny, deny_message: no }
  - expect: { within: 1s, results: [{ call: i, is_error: false, contains: text }] }
  - expect: results
  - idle: end_turn
  - interrupt: t
  - thread: { id: t, agent: a }
  - idle_thread: t
  - end_thread: t
  - error: text
  - cut_stream: reset
  - fail: { endpoint: send, status: 429, times: 2, retry_after: 1 }
  - fail: { endpoint: stream, do: stall }
  - sleep: 1ms
`

// TestFormIsRead: each key of the form has a field, and each step a reader; and the other
// way round.
func TestFormIsRead(t *testing.T) {
	top := document.ParseJSON(&document.Problems{}, form().Text())
	step := top.Get("$defs").Get("step")
	for pointer, v := range map[string]any{
		"": Script{}, "/properties/agent": AgentSpec{}, "/$defs/tool": Tool{}, "/$defs/call": scriptCall{},
		"/$defs/result": expectedResult{}, "/$defs/fail": failure{}, "/$defs/step/properties/message": speech{},
		"/$defs/step/properties/confirm": decision{}, "/$defs/step/properties/expect": expectation{},
		"/$defs/step/properties/thread": newThread{},
	} {
		var fields []string
		for field := range reflect.TypeOf(v).Fields() {
			if name := field.Tag.Get("yaml"); name != "" {
				fields = append(fields, name)
			}
		}
		if pointer == "" {
			fields = append(fields, "repeat", "steps")
		}
		if keys := names(top.At(pointer).Get("properties").Keys); !slices.Equal(keys, sorted(fields)) {
			t.Errorf("%s has %v, the struct %v", pointer, keys, fields)
		}
	}
	words := names(slices.Concat(step.Get("properties").Keys, step.At("/then/enum").Items))
	if readers := sortedNames(stepReaders()); !slices.Equal(slices.Compact(words), readers) {
		t.Errorf("the form has %v, the readers are %v", words, readers)
	}
	script := everyKey
	for _, word := range step.At("/then/enum").Items {
		script += "  - " + word.Text + "\n"
	}
	s, err := ParseScript("x.yaml", []byte(script))
	if err != nil {
		t.Fatal(err)
	}
	if s.Repeat != 0 || !s.threads || !s.asked || s.steps[0].at != "x.yaml:9" {
		t.Errorf("%+v", s)
	}
	eachKey(top, func(key string) {
		if !strings.Contains(script, key+":") {
			t.Errorf("no script has the key %s", key)
		}
	})
}

func sorted(list []string) []string { slices.Sort(list); return list }

func names(nodes []*document.Node) (out []string) {
	for _, n := range nodes {
		out = append(out, n.Text)
	}
	return sorted(out)
}

func eachKey(n *document.Node, visit func(string)) {
	for i, item := range n.Items {
		if n.Kind == document.Mapping && n.Keys[i].Text == "properties" {
			for _, key := range item.Keys {
				visit(key.Text)
			}
		}
		eachKey(item, visit)
	}
}

package schema

import (
	"encoding/json"
	"errors"
	"testing"
)

// FuzzValidate: every input gets nil or an answer in form, and what is accepted
// is a JSON object.
func FuzzValidate(f *testing.F) {
	for _, c := range hostile() {
		if len(c[1]) < 10_000 {
			f.Add([]byte(c[1]))
		}
	}
	for _, s := range []string{`{}`, `{"path":"a","line":1}`, `{"kind":"or","a":{"kind":"and"},"l":[1,1],"t":"2020-01-01"}`, "{\"a\xff\":\"\\ud800\"}", `[1,`, `{"a":-0.0e-0}`} {
		f.Add([]byte(s))
	}
	tool := mustTool(f, `{"type":"object","properties":{"path":{"type":"string","pattern":"^[a-z]+$"},"line":{"type":"integer","minimum":1,"multipleOf":3},
		"kind":{"enum":["and","or"]},"a":{"$ref":"#"},"l":{"type":"array","uniqueItems":true,"contains":{"type":"number"},"items":{"type":["number","null"]}},
		"t":{"format":"date"}},"oneOf":[{"required":["path"]},{"properties":{"a":{"required":["path"]}}}],"propertyNames":{"maxLength":9},
		"dependentRequired":{"line":["path"]},"unevaluatedProperties":false}`)
	f.Fuzz(func(t *testing.T, input []byte) {
		err := tool.Validate(input)
		if err == nil {
			var object map[string]any
			if json.Unmarshal(input, &object) != nil || object == nil {
				t.Errorf("accepted %q", input)
			}
			return
		}
		var invalid *InvalidError
		if !errors.As(err, &invalid) || invalid.Panic != nil {
			t.Fatalf("%v", err)
		}
		checkAnswer(t, invalid.Text())
	})
}

package registry

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
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

// FuzzManifest: any bytes give a tool whose schema is JSON, or errors that name
// a place within the file.
func FuzzManifest(f *testing.F) {
	paths, err := filepath.Glob(filepath.Join(examples(), "*.yaml"))
	if err != nil || len(paths) == 0 {
		f.Fatalf("no examples: %v", err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(manifestOf("a")))
	f.Add([]byte("a: &a [*a]\n? b\n: !!str 5\n<<: {}\n--- x\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		opts := Options{format: recorded()}
		opts.applyDefaults()
		m := &manifest{problems: &problems{file: "a.yaml"}, opts: &opts, dir: dir, file: filepath.Join(dir, "a.yaml"), real: dir}
		tool := m.read(data)
		if (tool == nil) != (len(m.list) > 0) {
			t.Fatalf("a tool %v with errors %v", tool, m.list)
		}
		for _, p := range m.list {
			if p.Line < 1 || p.Column < 1 || p.Text == "" {
				t.Errorf("no place: %+v", p)
			}
		}
		if tool != nil {
			if !json.Valid(tool.InputSchema) || tool.Handler == nil || tool.Deadline <= 0 {
				t.Errorf("not a tool: %+v", tool)
			}
			_ = tool.Validate([]byte(`{"a":[1,"b",{"c":null}]}`))
		}
	})
}

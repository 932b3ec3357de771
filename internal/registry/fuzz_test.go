package registry

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"toolhand/internal/document"
)

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
		m := &manifestFile{Problems: &document.Problems{File: "a.yaml"}, opts: &opts, dir: dir}
		tool, group := m.read(data)
		if (tool == nil && group == nil) != (len(m.List) > 0) {
			t.Fatalf("a tool %v, a group %v with errors %v", tool, group, m.List)
		}
		for _, p := range m.List {
			if p.Line < 1 || p.Column < 1 || p.Text == "" {
				t.Errorf("no place: %+v", p)
			}
		}
		if tool != nil {
			if !json.Valid(tool.InputSchema) || tool.Handler == nil || tool.Deadline <= 0 {
				t.Errorf("not a tool: %+v", tool)
			}
			_ = tool.Validate(t.Context(), []byte(`{"a":[1,"b",{"c":null}]}`))
		}
	})
}

package registry

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"toolhand/internal/document"
)

const minimal = `name: NAME
description: does it
input_schema: { type: object, properties: { n: { type: integer, maximum: 123456789012345678901234567890 }, d: { const: 2020-01-01 } } }
handler: { exec: { command: ["./run.sh", "-v"], dir: sub, env: { CI: "1" }, pass_env: [TOKEN], user: nobody } }
`

func manifestOf(name string) string { return strings.ReplaceAll(minimal, "NAME", name) }

func TestLoadDefaultsAndValues(t *testing.T) {
	dir := write(t, map[string]string{
		"a.yaml": manifestOf("a"),
		"b.yml": `name: b
description: posts it
input_schema: { type: object }
deadline: 2m
concurrency: 4
idempotent: true
max_result_bytes: 100
retry: { attempts: 3, backoff: 500ms }
rate: 10/s
handler: { http: { url: "https://h/x", headers: { X-Team: ci }, header_env: { Authorization: TOK } } }
`,
		".hidden.yaml": "nonsense", "notes.txt": "x", "c.yaml~": "x", "sub/d.yaml": "nonsense",
	})
	set, err := Load(Options{Dir: dir, format: recorded()})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(set.Tools()); n != 2 {
		t.Fatalf("%d tools", n)
	}
	a, ok := set.Lookup("a")
	if !ok || a.Deadline != 2*time.Minute || a.DeadlineText != "120s" || a.Concurrency != 0 || a.Idempotent || a.MaxResultBytes != 262144 || a.Kind != "exec" || a.File != filepath.Join(dir, "a.yaml") {
		t.Errorf("a = %+v", a)
	}
	if want := `{"type":"object","properties":{"n":{"type":"integer","maximum":123456789012345678901234567890},"d":{"const":"2020-01-01"}}}`; string(a.InputSchema) != want {
		t.Errorf("schema of a\n got %s\nwant %s", a.InputSchema, want)
	}
	h := a.Handler.(*echo)
	if strings.Join(h.exec.Command, " ") != "./run.sh -v" || h.exec.Dir != "sub" || h.exec.Env["CI"] != "1" || h.exec.PassEnv[0] != "TOKEN" || h.exec.User != "nobody" || h.common.Name != "a" || h.common.Dir != dir || h.common.LookupEnv == nil {
		t.Errorf("handler of a = %+v", h)
	}
	b, _ := set.Lookup("b")
	if b.DeadlineText != "2m" || b.Concurrency != 4 || !b.Idempotent || b.MaxResultBytes != 100 || b.Kind != "http" || b.Retry != (Retry{3, 500 * time.Millisecond}) || b.Rate != (Rate{10, time.Second}) {
		t.Errorf("b = %+v", b)
	}
	if h := b.Handler.(*echo); h.http.URL != "https://h/x" || h.http.Headers["X-Team"] != "ci" || h.http.HeaderEnv["Authorization"] != "TOK" || h.common.MaxResultBytes != 100 {
		t.Errorf("handler of b = %+v", h)
	}
	if w := set.Warnings(); len(w) != 0 {
		t.Errorf("warnings %q", w)
	}
}

func TestLoadAcrossFiles(t *testing.T) {
	dir := write(t, map[string]string{"a.yaml": manifestOf("same"), "same.yaml": manifestOf("same")})
	_, err := Load(Options{Dir: dir, format: recorded()})
	if want := filepath.Join(dir, "same.yaml") + `:1:7: name: expected each name once, found "same" in ` + filepath.Join(dir, "a.yaml"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("duplicate name: %v", err)
	}
	os.Remove(filepath.Join(dir, "same.yaml"))
	set, err := Load(Options{Dir: dir, format: recorded()})
	if err != nil || len(set.Warnings()) != 1 || !strings.Contains(set.Warnings()[0], `the tool is called "same", so its file is expected to be same.yaml`) {
		t.Errorf("a file of another name: %v %v", set.Warnings(), err)
	}
	many := make(map[string]string)
	for i := range 257 {
		name := "t" + strconv.Itoa(i)
		many[name+".yaml"] = "name: " + name + "\ndescription: d\ninput_schema: {type: object}\nhandler: {exec: {command: [x]}}\n"
	}
	set, err = Load(Options{Dir: write(t, many), format: recorded()})
	if err != nil || len(set.Tools()) != MaxTools || !strings.Contains(strings.Join(set.Warnings(), "\n"), "expected at most 256 tools, which is what an agent may have, found 257: those from t99 to t99, by name, are unavailable") {
		t.Fatalf("257 tools: %v %v", err, set.Warnings())
	}
	last, ok := set.Lookup("t99")
	if !ok || last.Handler.(unreachable).why == nil {
		t.Error("the last tool is not unavailable")
	}
}

func TestLoadFolders(t *testing.T) {
	for _, tc := range []struct{ dir, want string }{
		{filepath.Join(t.TempDir(), "none"), "there is no such folder: create it"},
		{"", "set tools.dir"},
		{write(t, map[string]string{"a.yaml/b.yaml": ""}), "a.yaml: expected a regular file, found a directory"},
	} {
		_, err := Load(Options{Dir: tc.dir, format: recorded()})
		var all *document.Errors
		if !errors.As(err, &all) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Load(%q): %v, want %q", tc.dir, err, tc.want)
		}
	}
	set, err := Load(Options{Dir: t.TempDir()})
	if err != nil || len(set.Tools()) != 0 {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestLoadFileLinks(t *testing.T) {
	outside := write(t, map[string]string{"secret.yaml": manifestOf("secret")})
	dir := write(t, map[string]string{"..data/real.yaml": manifestOf("linked")})
	if err := os.Symlink(filepath.Join("..data", "real.yaml"), filepath.Join(dir, "linked.yaml")); err != nil {
		t.Fatal(err)
	}
	if set, err := Load(Options{Dir: dir, format: recorded()}); err != nil || len(set.Tools()) != 1 {
		t.Errorf("a link within the folder: %v", err)
	}
	if err := os.Symlink(filepath.Join(outside, "secret.yaml"), filepath.Join(dir, "secret.yaml")); err != nil {
		t.Fatal(err)
	}
	if set, err := Load(Options{Dir: dir, format: recorded()}); err != nil || len(set.Tools()) != 2 {
		t.Errorf("a link out of the folder: %v", err)
	}
}

func TestReloadKeepsTheOldSet(t *testing.T) {
	dir := write(t, map[string]string{"a.yaml": manifestOf("a")})
	var log bytes.Buffer
	r, err := Open(Options{Dir: dir, format: recorded(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	old := r.Set()
	put(t, dir, "b.yaml", "name: b\nconcurrency: -1\n")
	if err := r.Reload(t.Context()); err == nil || r.Set() != old {
		t.Fatalf("a broken manifest: %v", err)
	}
	if s := log.String(); !strings.Contains(s, "the tools in force stay") || !strings.Contains(s, "b.yaml:2:14") {
		t.Errorf("log %q", s)
	}
	if err := os.Remove(filepath.Join(dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "c.yaml", manifestOf("b")+"rate: 5/m\n")
	log.Reset()
	for range 3 {
		if err := r.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := r.Set().Lookup("b"); !ok {
		t.Error("b is missing")
	}
	if _, ok := old.Lookup("b"); ok {
		t.Error("the old set was changed")
	}
	if n := strings.Count(log.String(), "c.yaml"); n != 1 {
		t.Errorf("the warning was logged %d times", n)
	}
	if !strings.Contains(log.String(), "added=[b]") {
		t.Errorf("log %q", log.String())
	}
}

// Calls look tools up and validate while reloads swap good sets and refuse
// broken ones: every set seen is whole.
func TestReloadWhileCallsLookUp(t *testing.T) {
	dir := write(t, map[string]string{"a.yaml": manifestOf("a"), "b.yaml": manifestOf("b")})
	r, err := Open(Options{Dir: dir, format: recorded()})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				set := r.Set()
				a, okA := set.Lookup("a")
				_, okB := set.Lookup("b")
				if !okA || !okB || a.Validate(t.Context(), []byte(`{"n":1}`)) != nil || a.Validate(t.Context(), []byte(`{"n":"1"}`)) == nil {
					t.Error("a set is not whole")
					return
				}
			}
		})
	}
	for i := range 20 {
		text := manifestOf("b")
		if i%2 == 0 {
			text = "broken"
		}
		put(t, dir, "b.yaml", text)
		if err := r.Reload(t.Context()); (err == nil) != (i%2 == 1) {
			t.Errorf("reload %d: %v", i, err)
		}
	}
	close(stop)
	calls.Wait()
}

func TestExport(t *testing.T) {
	dir := write(t, map[string]string{"b.yaml": manifestOf("b"), "a.yaml": "name: a\ndescription: <a> & b\ninput_schema: {type: object, z: 1, a: 2}\nhandler: {exec: {command: [x]}}\n"})
	set, err := Load(Options{Dir: dir, format: recorded()})
	if err != nil {
		t.Fatal(err)
	}
	got, err := set.Export()
	if err != nil {
		t.Fatal(err)
	}
	want := `[
  {
    "type": "custom",
    "name": "a",
    "description": "<a> & b",
    "input_schema": {
      "type": "object",
      "z": 1,
      "a": 2
    }
  },
`
	if !strings.HasPrefix(string(got), want) || !strings.Contains(string(got), "123456789012345678901234567890") {
		t.Errorf("got %s", got)
	}
	if empty, err := NewSet().Export(); err != nil || string(empty) != "[]\n" {
		t.Errorf("an empty set: %q %v", empty, err)
	}
}

func TestNewTool(t *testing.T) {
	for _, tc := range []struct {
		spec Manifest
		want string
	}{
		{Manifest{Name: "a b", Handler: &echo{}}, "name: expected 1 to 128"},
		{Manifest{Name: "a"}, "expected a handler"},
		{Manifest{Name: "a", Handler: &echo{}, Deadline: -1}, "below zero"},
		{Manifest{Name: "a", Handler: &echo{}, InputSchema: []byte(`{"type":"array"}`)}, `expected "object" at the top of a schema`},
		{Manifest{Name: "a", Handler: &echo{}, InputSchema: []byte(`{"type":"object","properties":{"a":{"$ref":"file:///etc/passwd"}}}`)}, "not followed"},
		{Manifest{Name: "a", Handler: &echo{}, InputSchema: []byte(`{`)}, "expected more JSON"},
	} {
		if _, err := NewTool(tc.spec); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.spec, err, tc.want)
		}
	}
	tool, err := NewTool(Manifest{Name: "a", Handler: &echo{}})
	if err != nil || tool.Validate(t.Context(), []byte(`{"x":1}`)) != nil || tool.DeadlineText != "120s" || tool.MaxResultBytes != DefaultMaxResultBytes {
		t.Errorf("defaults: %+v %v", tool, err)
	}
}

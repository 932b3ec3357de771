package registry

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"toolhand/internal/tools"
	"toolhand/internal/tools/proctree"
)

// examples is the repository's own tools.d.
func examples() string { return filepath.Join("..", "..", "tools.d") }

// openExamples loads the folder with the real handlers.
func openExamples(t *testing.T, dir string) *Set {
	t.Helper()
	procs, err := proctree.New(proctree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := procs.Close(); err != nil {
			t.Error(err)
		}
	})
	set, err := Load(Options{Dir: dir, Dependencies: Dependencies{Processes: procs}})
	if err != nil {
		t.Fatal(err)
	}
	if w := set.Warnings(); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
	return set
}

// call runs a tool of the set as the loop would, and gives the text.
func call(t *testing.T, set *Set, name, input string) (text string, isError bool, err error) {
	t.Helper()
	tool, ok := set.Lookup(name)
	if !ok {
		t.Fatalf("no tool %s", name)
	}
	if err := tool.Validate(t.Context(), json.RawMessage(input)); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(tool.Deadline)
	ctx, cancel := context.WithDeadline(t.Context(), deadline)
	defer cancel()
	result, err := tool.Handler.Call(ctx, tools.Call{ID: "sevt_1", Tool: name, Session: "sesn_1", Input: json.RawMessage(input), Deadline: deadline})
	if err != nil {
		return "", false, err
	}
	var blocks []struct{ Text string }
	if err := json.Unmarshal(result.Content, &blocks); err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		text += b.Text
	}
	return text, result.IsError, nil
}

func TestExamplesRun(t *testing.T) {
	set := openExamples(t, examples())
	var names []string
	for _, tool := range set.Tools() {
		names = append(names, tool.Name)
	}
	if got := strings.Join(names, " "); got != "read_file run_tests search_code slow_build word_count" {
		t.Fatalf("tools: %s", got)
	}
	for _, tc := range []struct {
		tool, input, want string
		isError           bool
	}{
		{"read_file", `{"path":"sample/hello.go"}`, "func Hello(name string) string {", false},
		{"read_file", `{"path":"sample/notes.txt","max_lines":3}`, "TODO: greet in the language of the reader\n", false},
		{"read_file", `{"path":"sample/notes.txt","max_lines":0.1e1}`, "Notes of the sample project\n", false},
		{"read_file", `{"path":"sample\/n\u006ftes.txt"}`, "Done: greet everybody", false},
		{"read_file", `{"path":"../go.mod"}`, "expected a path without ..", true},
		{"read_file", `{"path":"sample/.."}`, "expected a path without ..", true},
		{"read_file", `{"path":"/etc/passwd"}`, "expected a relative path", true},
		{"read_file", `{"path":"sample/none; echo boo"}`, "there is no sample/none; echo boo", true},
		{"read_file", `{"path":"sample"}`, "sample is not a file", true},
		{"search_code", `{"pattern":"func Hello("}`, "func Hello(name string) string {", false},
		{"search_code", `{"pattern":"-e $(boo) \" '"}`, "no matches", false},
		{"search_code", `{"pattern":"x","dir":".."}`, "expected a path without ..", true},
		{"run_tests", `{"package":"sample"}`, "ok: 4 checks", false},
		{"run_tests", `{"package":"sample","verbose":true}`, "--- PASS: hello_is_tested", false},
		{"run_tests", `{"package":"lib"}`, "lib has no tests", true},
		{"word_count", `{"text":"a \u00e9\n\ud83d\ude00 \"b\\ c"}`, "lines: 2\nwords: 5\ncharacters: 11", false},
		{"word_count", `{"text":""}`, "lines: 0\nwords: 0\ncharacters: 0", false},
		{"word_count", `{"text":"` + strings.Repeat(`x\n`, 100_000) + `"}`, "lines: 100000\nwords: 100000\ncharacters: 200000", false},
	} {
		text, isError, err := call(t, set, tc.tool, tc.input)
		if err != nil || isError != tc.isError || !strings.Contains(text, tc.want) {
			t.Errorf("%s %.60s: %q, error %t, %v\nwant %q", tc.tool, tc.input, text, isError, err, tc.want)
		}
	}
}

// slow_build overruns: the handler is back soon after the deadline, so nothing
// of its tree runs on.
func TestExampleOverrunsItsDeadline(t *testing.T) {
	set := openExamples(t, examples())
	if tool, _ := set.Lookup("slow_build"); tool.DeadlineText != "1s" || tool.Idempotent {
		t.Errorf("slow_build = %+v", tool)
	}
	began := time.Now()
	text, isError, err := call(t, set, "slow_build", `{"target":"sample"}`)
	if took := time.Since(began); took < time.Second || took > 10*time.Second {
		t.Errorf("took %v: %q %t %v", took, text, isError, err)
	}
}

// A link that leads out of the folder is no way out for read_file.
func TestExampleReadsNoLinksOut(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(examples())); err != nil {
		t.Fatal(err)
	}
	// CopyFS keeps no executable bits on every version of Go.
	err := filepath.WalkDir(filepath.Join(dir, "bin"), func(path string, d fs.DirEntry, err error) error {
		return errors.Join(err, os.Chmod(path, 0o755))
	})
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, "sample", "link")); err != nil {
		t.Fatal(err)
	}
	text, isError, err := call(t, openExamples(t, dir), "read_file", `{"path":"sample/link"}`)
	if err != nil || !isError || !strings.Contains(text, "leads out of the folder") || strings.Contains(text, "key") {
		t.Errorf("%q %t %v", text, isError, err)
	}
}

func TestHTTPExampleLoads(t *testing.T) {
	set := openExamples(t, filepath.Join("..", "..", "examples", "http"))
	tool, ok := set.Lookup("status_page")
	if !ok || tool.Kind != "http" || tool.Validate(t.Context(), []byte(`{"service":"checkout"}`)) != nil {
		t.Errorf("status_page = %+v", tool)
	}
}

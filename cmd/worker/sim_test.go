package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSimRestarted: a worker stays up while the simulator behind one address is
// replaced by another that plays the same script. The calls of both are run, once each,
// and answered.
func TestSimRestarted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"tools.d/note.sh":   "#!/bin/sh\necho $TOOL_USE_ID >> ran\ncat\n",
		"tools.d/note.yaml": "name: note\ndescription: Note.\ninput_schema: {type: object}\nhandler: {exec: {command: [./note.sh]}}\n",
		"worker.yaml":       "admin: {listen: ''}\n",
		"session.yaml": "steps:\n  - calls: [{name: note, id: sevt_first, input: {n: 1}}, {name: note, input: {n: 2}}]\n" +
			"  - expect: {within: 20s, results: [{call: sevt_first, is_error: false, contains: '1'}]}\n  - end_turn\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GORACE=atexit_sleep_ms=0", "ANTHROPIC_API_KEY=any"}
	launched := func(log string, env []string, args ...string) *running {
		r, err := launch(dir, filepath.Join(dir, log), env, args...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.kill)
		return r
	}
	ends := func(r *running) {
		t.Helper()
		if code, err := r.ends(); err != nil || code != 0 {
			t.Fatalf("exit code %d, %v:\n%s", code, err, r.text())
		}
	}
	play := func(log, address string) *running {
		return launched(log, env, "sim", "--listen", address, "--exit", "--script", "session.yaml")
	}
	one := play("one.log", "127.0.0.1:0")
	m, err := one.until(regexp.MustCompile(`simulated API at http://(\S+)`))
	if err != nil {
		t.Fatal(err)
	}
	work := launched("work.log", append(env, "ANTHROPIC_BASE_URL=http://"+m[1]), "run", "--session", "sesn_sim")
	ends(one)
	two := play("two.log", m[1])
	ends(two)
	for _, r := range []*running{one, two} {
		if !strings.Contains(r.text(), "calls     2   2 answered (2 ok), 0 not") {
			t.Errorf("it does not say what happened:\n%s", r.text())
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "tools.d", "ran"))
	if err != nil {
		t.Fatal(err)
	}
	ran := map[string]bool{}
	for id := range strings.FieldsSeq(string(text)) {
		ran[id] = true
	}
	if n := len(strings.Fields(string(text))); n != 4 || len(ran) != 4 {
		t.Errorf("%d calls ran %d times: %s\n%s", len(ran), n, text, work.text())
	}
}

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"toolhand/internal/testkit"
)

// TestNATSExamples runs the handlers of examples/nats-go and examples/nats-js with
// their manifests, each as a process beside a worker. Without node and npm the
// second is not tested; `make test` says so.
func TestNATSExamples(t *testing.T) {
	testkit.OnlyInFull(t)
	t.Parallel()
	dir, listen := t.TempDir(), freeAddress(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"worker.yaml": "admin: {listen: ''}\nnats: {listen: '" + listen + "', token_file: token}\n", "token": "token-of-the-examples\n"}
	for _, name := range []string{"nats-go/countdown.yaml", "nats-js/slugify.yaml", "nats-js/handler.js", "nats-js/package.json"} {
		text, err := os.ReadFile(filepath.Join(root, "examples", name))
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(name) == ".yaml" {
			name = "tools.d/" + filepath.Base(name)
		}
		files[name] = string(text)
	}
	lay(t, dir, files)
	session, url := simulated(t, "sesn_examples")
	r, err := launch(dir, filepath.Join(dir, "run.log"), workerEnv(dir, "ANTHROPIC_API_KEY=any", "ANTHROPIC_BASE_URL="+url), "run", "--session", "sesn_examples")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.kill)
	if _, err := r.until(regexp.MustCompile("worker started")); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "NATS_URL=nats://"+listen, "NATS_TOKEN=token-of-the-examples", "NATS_USER=examples")
	finish(t, root, env, "go", "build", "-o", filepath.Join(dir, "countdown"), "./examples/nats-go")
	handler(t, dir, env, filepath.Join(dir, "countdown"))
	if log, err := os.ReadFile(filepath.Join(dir, "run.log")); err != nil || strings.Contains(string(log), "default inbox") {
		t.Errorf("the example has the default inbox: %v\n%s", err, log)
	}
	if got := answered(t, session, "countdown", `{"seconds": 0.01}`); got != "lift-off after 0.01 s" {
		t.Errorf("countdown: %q", got)
	}
	if !haveNode() {
		fmt.Fprintln(os.Stderr, "NOT TESTED: examples/nats-js, since node or npm is missing")
		return
	}
	js := filepath.Join(dir, "nats-js")
	finish(t, js, env, "npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent")
	handler(t, js, env, "node", "handler.js")
	for input, want := range map[string]string{
		`{"title": "Où est Été?"}`: "ou-est-ete",
		`{"title": "???"}`:         "error 500: nothing is left of this title: give one with letters or digits",
	} {
		if got := answered(t, session, "slugify", input); got != want {
			t.Errorf("slugify %s: %q, expected %q", input, got, want)
		}
	}
	if out, code := shell(t, dir, "tools", "check", "--live"); code != 0 || strings.Count(out, " there\n") != 2 {
		t.Errorf("tools check --live: exit code %d\n%s", code, out)
	}
}

func haveNode() bool {
	_, node := exec.LookPath("node")
	_, npm := exec.LookPath("npm")
	return node == nil && npm == nil
}

// finish runs a command to its end, which must be a good one.
func finish(t *testing.T, dir string, env []string, command ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir, cmd.Env = dir, env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
}

// handler starts a handler that says when it is ready, and kills it at the end.
func handler(t *testing.T, dir string, env []string, command ...string) {
	t.Helper()
	h, err := launchProgram(dir, filepath.Join(dir, "handler.log"), env, command...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.kill)
	if _, err := h.until(regexp.MustCompile("(?m)^ready$")); err != nil {
		t.Fatal(err)
	}
}

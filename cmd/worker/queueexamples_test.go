package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"toolhand/internal/testkit"
)

// TestQueueExamples runs the consumers of examples/queue-go and examples/queue-js
// with their manifests, beside a worker whose server they reach by nats.listen, and
// beside a server of its own. Without node and npm the second is not tested; `make
// test` says so.
func TestQueueExamples(t *testing.T) {
	testkit.OnlyInFull(t)
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	built := t.TempDir()
	finish(t, root, os.Environ(), "go", "build", "-o", filepath.Join(built, "reindex"), "./examples/queue-go")
	js := filepath.Join(built, "queue-js")
	if err := os.CopyFS(js, os.DirFS(filepath.Join(root, "examples/queue-js"))); err != nil {
		t.Fatal(err)
	}
	if haveNode() {
		finish(t, js, os.Environ(), "npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent")
	} else {
		fmt.Fprintln(os.Stderr, "NOT TESTED: examples/queue-js, since node or npm is missing")
	}
	t.Run("listen", func(t *testing.T) {
		t.Parallel()
		listen := freeAddress(t)
		queueExamples(t, root, built, "listen: '"+listen+"', token_file: token", "NATS_URL=nats://"+listen, "NATS_TOKEN=token-of-the-examples", "NATS_DOMAIN=toolhand")
	})
	t.Run("url", func(t *testing.T) {
		t.Parallel()
		dir, port := t.TempDir(), freePorts(t, 1)[0]
		launchNATS(t, dir, "nats", fmt.Sprintf("listen: '127.0.0.1:%d'\njetstream { store_dir: '%s' }\n", port, dir))
		url := fmt.Sprintf("nats://127.0.0.1:%d", port)
		queueExamples(t, root, built, "url: '"+url+"'", "NATS_URL="+url)
	})
}

// queueExamples has a worker with the configuration of nats given, and runs what is
// built in an environment with more.
func queueExamples(t *testing.T, root, built, conf string, more ...string) {
	dir := t.TempDir()
	files := map[string]string{"token": "token-of-the-examples\n",
		"worker.yaml": "admin: {listen: ''}\nnats: {" + conf + ", queue: {ack_wait: 1s}}\n"}
	for _, name := range []string{"queue-go/reindex.yaml", "queue-js/render.yaml"} {
		text, err := os.ReadFile(filepath.Join(root, "examples", name))
		if err != nil {
			t.Fatal(err)
		}
		files["tools.d/"+filepath.Base(name)] = string(text)
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
	env := append(os.Environ(), more...)
	handler(t, dir, env, filepath.Join(built, "reindex"))
	// The second one lasts longer than who took it may be silent.
	for input, want := range map[string]string{
		`{"site": "docs.example.com", "seconds": 0.01}`: "the index of docs.example.com is new",
		`{"site": "slow.example.com", "seconds": 2.5}`:  "the index of slow.example.com is new",
		`{"site": "a/b"}`: `error 500: "a/b" is no site: give its name alone, such as docs.example.com`,
	} {
		if got := answered(t, session, "reindex", input); got != want {
			t.Errorf("reindex %s: %q, expected %q", input, got, want)
		}
	}
	if !haveNode() {
		return
	}
	handler(t, t.TempDir(), env, "node", filepath.Join(built, "queue-js/consumer.js"))
	for input, want := range map[string]string{
		`{"title": "News", "lines": ["one", "two"]}`: "News\n====\n- one\n- two",
		`{"title": "", "lines": []}`:                 "error 500: the page has no title: give one",
	} {
		if got := answered(t, session, "render", input); got != want {
			t.Errorf("render %s: %q, expected %q", input, got, want)
		}
	}
	if out, code := shell(t, dir, "tools", "check", "--live"); code != 0 || strings.Count(out, " there\n") != 2 {
		t.Errorf("tools check --live: exit code %d\n%s", code, out)
	}
}

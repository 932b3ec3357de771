package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"toolhand/internal/testkit"
)

// pair is `worker sim` and `worker run` as two processes, in the middle of a
// turn: the call sevt_one runs.
type pair struct {
	dir       string
	sim, work *running
}

// tool waits for the file go, with a child that has left its session.
const tool = `#!/bin/sh
setsid sleep 300 >/dev/null 2>&1 &
echo $! > pid.new
mv pid.new pid
while ! test -e go; do sleep 0.02; done
echo all done
`

func startPair(t *testing.T, grace string) *pair {
	t.Helper()
	p := &pair{dir: t.TempDir()}
	for name, text := range map[string]string{
		"tools.d/work.sh":   tool,
		"tools.d/work.yaml": "name: work\ndescription: Work.\ninput_schema: {type: object}\nhandler: {exec: {command: [./work.sh]}}\n",
		"worker.yaml":       "admin: {listen: ''}\nshutdown: {grace: " + grace + "}\n",
		"session.yaml": "session: sesn_e2e\nsteps:\n  - call: {name: work, id: sevt_one, input: {}}\n" +
			"  - expect: {within: 60s, results: [{call: sevt_one, is_error: false, contains: all done}]}\n  - end_turn\n",
	} {
		path := filepath.Join(p.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "GORACE=atexit_sleep_ms=0", "ANTHROPIC_API_KEY=any"}
	p.sim = p.launch(t, "sim", env, "sim", "--listen", "127.0.0.1:0", "--script", "session.yaml", "--keep-ids", "--exit")
	url := p.until(t, p.sim, `"url":"([^"]+)"`)
	p.work = p.launch(t, "run", append(env, "ANTHROPIC_BASE_URL="+url), "run", "--session", "sesn_e2e")
	p.until(t, p.work, `"msg":"call started".*("call":"sevt_one")`)
	return p
}

func (p *pair) launch(t *testing.T, name string, env []string, args ...string) *running {
	t.Helper()
	r, err := launch(p.dir, filepath.Join(p.dir, name+".log"), env, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.kill)
	return r
}

func (p *pair) until(t *testing.T, r *running, re string) string {
	t.Helper()
	m, err := r.until(regexp.MustCompile(re))
	if err != nil {
		t.Fatal(err)
	}
	return m[1]
}

func (p *pair) ends(t *testing.T, r *running) {
	t.Helper()
	if code, err := r.ends(); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v, want 0:\n%s", code, err, r.text())
	}
}

// child waits until the tool's child runs and returns its id.
func (p *pair) child(t *testing.T) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(awaitFile(t, filepath.Join(p.dir, "tools.d/pid"))))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func (p *pair) term(t *testing.T) {
	t.Helper()
	if err := p.work.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.until(t, p.work, `"msg":"(draining)`)
}

// TestTermInTheMiddleOfATurn: what runs is finished and sent within the grace.
func TestTermInTheMiddleOfATurn(t *testing.T) {
	t.Parallel()
	p := startPair(t, "30s")
	child := p.child(t)
	p.term(t)
	if err := os.WriteFile(filepath.Join(p.dir, "tools.d/go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.ends(t, p.work)
	p.until(t, p.work, `"call":"sevt_one",("outcome":"ok")`)
	p.until(t, p.work, `"worker stopped",("calls_left":0)`)
	p.ends(t, p.sim) // it got the result that its script expects
	gone(t, child)
}

// TestGraceOverrun: the tool is stopped with its tree and nothing is answered;
// that is no failure of the worker.
func TestGraceOverrun(t *testing.T) {
	t.Parallel()
	p := startPair(t, "200ms")
	child := p.child(t)
	begin := time.Now()
	p.term(t)
	p.ends(t, p.work)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the drain took %s with a grace of 200ms", took)
	}
	p.until(t, p.work, `"worker stopped",("calls_left":1)`)
	gone(t, child)
	if strings.Contains(p.sim.text(), "user.custom_tool_result") {
		t.Errorf("a call that was not finished was answered:\n%s", p.sim.text())
	}
}

func gone(t *testing.T, pid int) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("process %d of the tool ends", pid), func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
}

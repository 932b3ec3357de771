package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"toolhand/internal/sim"
)

// natsTool is the manifest of a nats tool.
func natsTool(name, more string) string {
	return "name: " + name + "\ndescription: Answer from elsewhere.\ninput_schema: {type: object}\n" + more + "handler: {nats: {}}\n"
}

// lay writes files below dir.
func lay(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// freeAddress is an address on loopback that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1)[0])
}

// simulated is an API in the test, with one session.
func simulated(t *testing.T, session string) (*sim.Session, string) {
	t.Helper()
	api := sim.New(sim.Options{})
	web := httptest.NewServer(api)
	t.Cleanup(web.Close)
	t.Cleanup(api.Close)
	return api.NewSession(sim.SessionSpec{ID: session}), web.URL
}

// workerEnv is what a worker of a test has in its environment.
func workerEnv(dir string, more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GORACE=atexit_sleep_ms=0"}, more...)
}

// shell runs the worker as a command that ends by itself.
func shell(t *testing.T, dir string, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "worker", args...)
	cmd.Dir, cmd.Env = dir, workerEnv(dir)
	text, _ := cmd.CombinedOutput()
	return string(text), cmd.ProcessState.ExitCode()
}

// answered makes a call in a turn of its own and waits for its result.
func answered(t *testing.T, s *sim.Session, tool, input string) string {
	t.Helper()
	id := s.CallTool(tool, input)
	s.RequireAction()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.WaitAnswered(ctx); err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	r, _ := s.Result(id)
	return r.Text()
}

// TestNATSToolsFromOutside: a handler that comes by nats.listen with the token
// answers calls across the border of the accounts, is told when one is over, and
// is found by the commands that open no store.
func TestNATSToolsFromOutside(t *testing.T) {
	t.Parallel()
	dir, listen := t.TempDir(), freeAddress(t)
	lay(t, dir, map[string]string{
		"tools.d/echo.yaml":   natsTool("echo", ""),
		"tools.d/slow.yaml":   natsTool("slow", "deadline: 700ms\n"),
		"tools.d/gone.yaml":   natsTool("gone", "deadline: 500ms\n"),
		"token":               "secret-token-of-nats\n",
		"worker.yaml":         "admin: {listen: ''}\nnats: {listen: '" + listen + "', token_file: token}\n",
		"nowhere/worker.yaml": "tools: {dir: ../tools.d}\nnats: {listen: ''}\n",
	})
	if out, code := shell(t, dir, "tools", "call", "echo"); code != 1 || !strings.Contains(out, `Tool "echo" is unavailable: no worker can be reached at nats.listen `+listen) {
		t.Errorf("without a worker: exit code %d\n%s", code, out)
	}
	if out, code := shell(t, filepath.Join(dir, "nowhere"), "tools", "call", "echo"); code != 1 || !strings.Contains(out, `Tool "echo" is unavailable: set nats.url`) {
		t.Errorf("without an address: exit code %d\n%s", code, out)
	}
	if out, code := shell(t, dir, "tools", "check"); code != 0 {
		t.Errorf("a check needs no server: exit code %d\n%s", code, out)
	}
	session, url := simulated(t, "sesn_nats")
	r, err := launch(dir, filepath.Join(dir, "run.log"), workerEnv(dir, "ANTHROPIC_API_KEY=any", "ANTHROPIC_BASE_URL="+url), "run", "--session", "sesn_nats")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.kill)
	if _, err := r.until(regexp.MustCompile("worker started")); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("nats://"+listen, nats.Token("secret-token-of-nats"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	over, err := nc.SubscribeSync("toolhand.cancel.>")
	if err != nil {
		t.Fatal(err)
	}
	for tool, answer := range map[string]func(*nats.Msg){
		"echo": func(m *nats.Msg) { _ = m.Respond(fmt.Appendf(nil, "%s says %s", m.Header.Get("Tool-Name"), m.Data)) },
		"slow": func(*nats.Msg) {},
	} {
		if _, err := nc.QueueSubscribe("toolhand.tool."+tool, "tests", answer); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for tool, want := range map[string]string{
		"echo": `echo says {"n":1}`, "slow": `Tool "slow" did not finish within its deadline of 700ms`,
		"gone": `Tool "gone" is unavailable: nobody answers on the NATS subject toolhand.tool.gone`,
	} {
		if got := answered(t, session, tool, `{"n":1}`); got != want {
			t.Errorf("%s: %q, expected %q", tool, got, want)
		}
	}
	if m, err := over.NextMsg(patience); err != nil || m.Header.Get("Tool-Name") != "slow" || m.Subject != "toolhand.cancel."+m.Header.Get("Tool-Use-Id") {
		t.Errorf("told of %v, %v", m, err)
	}
	if out, code := shell(t, dir, "tools", "call", "echo", `{"n":2}`); code != 0 || !strings.HasPrefix(out, `echo says {"n":2}`) {
		t.Errorf("tools call: exit code %d\n%s", code, out)
	}
	out, code := shell(t, dir, "tools", "check", "--live")
	if code != 1 || !regexp.MustCompile(`(?m)^echo +nats +there$`).MatchString(out) || !regexp.MustCompile(`(?m)^gone +nats +not there: nobody listens on the NATS subject toolhand.tool.gone$`).MatchString(out) {
		t.Errorf("tools check --live: exit code %d\n%s", code, out)
	}
}

// TestNATSInterruptIsTold: an interrupt of the session reaches the handler.
func TestNATSInterruptIsTold(t *testing.T) {
	t.Parallel()
	dir, listen := t.TempDir(), freeAddress(t)
	lay(t, dir, map[string]string{
		"tools.d/slow.yaml": natsTool("slow", ""),
		"worker.yaml":       "admin: {listen: ''}\nnats: {listen: '" + listen + "'}\n",
	})
	session, url := simulated(t, "sesn_int")
	r, err := launch(dir, filepath.Join(dir, "run.log"), workerEnv(dir, "ANTHROPIC_API_KEY=any", "ANTHROPIC_BASE_URL="+url), "run", "--session", "sesn_int")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.kill)
	if _, err := r.until(regexp.MustCompile("worker started")); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("nats://" + listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	over, err := nc.SubscribeSync("toolhand.cancel.>")
	if err != nil {
		t.Fatal(err)
	}
	taken, err := nc.SubscribeSync("toolhand.tool.slow")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	id := session.CallTool("slow", `{}`)
	session.RequireAction()
	if _, err := taken.NextMsg(patience); err != nil {
		t.Fatal(err)
	}
	if err := session.Interrupt(""); err != nil {
		t.Fatal(err)
	}
	if m, err := over.NextMsg(patience); err != nil || m.Subject != "toolhand.cancel."+id {
		t.Errorf("told on %v, %v", m, err)
	}
}

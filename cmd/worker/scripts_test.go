package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"toolhand/internal/sim"
	"toolhand/internal/testkit"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// leakFree fails if the tests leave goroutines behind.
type leakFree struct{ m *testing.M }

func (l leakFree) Run() int {
	testkit.SideBySide(8) // they wait for processes
	code := l.m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// The test binary is the worker: a script's `worker` is a process of its own. It
// plays an external NATS server too.
func TestMain(m *testing.M) {
	testscript.Main(leakFree{m}, map[string]func(){"worker": main, "natsd": natsMain, "natshandler": natsHandlerMain, "mcpserver": mcpServerMain})
}

// TestScripts runs testdata/*.txtar. Besides the commands of testscript there
// are:
//
//	fails CODE ARGS…       run a command that exits with CODE
//	api [KEY]              a simulated API in the test; ANTHROPIC_BASE_URL names it
//	api-key KEY            it accepts this key only from now on
//	session ID             it has a session
//	poison SESSION CALL    it refuses every result for this call
//	play FILE              it plays a script
//	played                 wait until the script has gone as it says
//	start NAME ARGS…       start the worker; its output goes to NAME.log
//	until NAME REGEXP      wait until NAME.log has a match
//	signal NAME SIGNAL     TERM, INT or HUP
//	ends NAME CODE         wait until it has exited with CODE
//	api-of NAME            ANTHROPIC_BASE_URL and API_ADDRESS are those of the `worker sim` NAME
//	await FILE             wait until the file is there
//	gone FILE              wait until the process is gone whose id the file holds
//	get NAME PATH STATUS   ask its admin address until it answers with STATUS; the body goes to body.json
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Deadline:            time.Now().Add(2 * time.Minute),
		Setup: func(e *testscript.Env) error {
			b := &bench{running: map[string]*running{}}
			e.Values[benchKey{}] = b
			e.Defer(b.close)
			// The race detector lets each process sleep a second at its end.
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			root, err := filepath.Abs("../..")
			e.Setenv("ROOT", root)
			return err
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"fails": cmdFails, "api": cmdAPI, "session": cmdSession, "api-key": cmdAPIKey, "poison": cmdPoison, "play": cmdPlay, "played": cmdPlayed,
			"start": cmdStart, "until": cmdUntil, "signal": cmdSignal, "ends": cmdEnds, "get": cmdGet,
			"api-of": cmdAPIOf, "admin-of": cmdAdminOf, "await": cmdAwait, "gone": cmdGone,
		},
	})
}

// bench is what a script has started.
type bench struct {
	api     *sim.Server
	web     *httptest.Server
	ctx     context.Context
	stop    context.CancelFunc
	played  chan error
	running map[string]*running
}

type benchKey struct{}

func benchOf(ts *testscript.TestScript) *bench { return ts.Value(benchKey{}).(*bench) }

func (b *bench) close() {
	for _, r := range b.running {
		r.kill()
	}
	if b.stop != nil {
		b.stop()
		if b.played != nil {
			<-b.played
		}
		b.api.Close()
		b.web.Close()
	}
}

// running is a process, mostly a worker.
type running struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// launch starts the worker.
func launch(dir, log string, env []string, args ...string) (*running, error) {
	return launchProgram(dir, log, env, append([]string{"worker"}, args...)...)
}

// launchProgram starts any program.
func launchProgram(dir, log string, env []string, command ...string) (*running, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	r := &running{cmd: exec.Command(command[0], command[1:]...), log: log, done: make(chan struct{})}
	r.cmd.Dir, r.cmd.Env, r.cmd.Stdout, r.cmd.Stderr = dir, env, out, out
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { defer close(r.done); _ = r.cmd.Wait() }()
	return r, nil
}

func (r *running) kill() {
	_ = r.cmd.Process.Kill()
	<-r.done
}

// text is what it has printed so far.
func (r *running) text() string {
	data, _ := os.ReadFile(r.log)
	return string(data)
}

// until waits for a match of the log, and returns it.
func (r *running) until(re *regexp.Regexp) ([]string, error) {
	for bound := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		ended := false
		select {
		case <-r.done:
			ended = true
		default:
		}
		if m := re.FindStringSubmatch(r.text()); m != nil {
			return m, nil
		}
		if ended || time.Now().After(bound) {
			return nil, fmt.Errorf("no match for %q (ended: %t) in:\n%s", re, ended, r.text())
		}
	}
}

// ends waits for the exit code.
func (r *running) ends() (int, error) {
	select {
	case <-r.done:
		return r.cmd.ProcessState.ExitCode(), nil
	case <-time.After(patience):
		return 0, fmt.Errorf("did not end:\n%s", r.text())
	}
}

// usage is how a command of a script was called.
type usage struct {
	*testscript.TestScript
	neg  bool
	args []string
}

func (u usage) need(n int) {
	if u.neg || len(u.args) < n {
		u.Fatalf("see TestScripts for the usage")
	}
}

func cmdFails(ts *testscript.TestScript, neg bool, args []string) {
	usage{ts, neg, args}.need(2)
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] {
		ts.Fatalf("ended with %v, want exit status %s", err, args[0])
	}
}

func cmdSession(ts *testscript.TestScript, neg bool, args []string) {
	usage{ts, neg, args}.need(1)
	benchOf(ts).api.NewSession(sim.SessionSpec{ID: args[0]})
}

func cmdPoison(ts *testscript.TestScript, neg bool, args []string) {
	usage{ts, neg, args}.need(2)
	benchOf(ts).api.Session(args[0]).Poison(args[1], http.StatusBadRequest)
}

func cmdAPI(ts *testscript.TestScript, neg bool, args []string) {
	usage{ts, neg, args}.need(0)
	b := benchOf(ts)
	b.api = sim.New(sim.Options{Key: strings.Join(args, "")})
	b.web = httptest.NewServer(b.api)
	b.ctx, b.stop = context.WithCancel(context.Background())
	ts.Setenv("ANTHROPIC_BASE_URL", b.web.URL)
	ts.Setenv("API_ADDRESS", b.web.Listener.Addr().String())
}

func cmdAPIKey(ts *testscript.TestScript, neg bool, args []string) {
	usage{ts, neg, args}.need(1)
	benchOf(ts).api.SetKey(args[0])
}

func cmdPlay(ts *testscript.TestScript, neg bool, args []string) {
	usage{ts, neg, args}.need(1)
	b := benchOf(ts)
	script, err := sim.ParseScript(args[0], []byte(ts.ReadFile(args[0])))
	ts.Check(err)
	b.api.Prepare(script)
	b.played = make(chan error, 1)
	go func() { defer close(b.played); b.played <- b.api.Play(b.ctx, script) }()
}

func cmdPlayed(ts *testscript.TestScript, neg bool, args []string) {
	usage{ts, neg, args}.need(0)
	select {
	case err := <-benchOf(ts).played:
		ts.Check(err)
	case <-time.After(patience):
		ts.Fatalf("the script has not come to its end")
	}
}

func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	usage{ts, neg, args}.need(2)
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "COLUMNS", "GORACE", "GOCOVERDIR", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL",
		"TOOLHAND_CONFIG", "TOOLHAND_SESSION", "TOOLHAND_TOOLS_DIR", "TOOLHAND_LOG_LEVEL", "TOOLHAND_LOG_FORMAT"} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	// A store of its own, which the next worker of this name finds again.
	env = append(env, "STATE_DIRECTORY="+ts.MkAbs("store-"+args[0]))
	r, err := launch(ts.MkAbs("."), ts.MkAbs(args[0]+".log"), env, args[1:]...)
	ts.Check(err)
	benchOf(ts).running[args[0]] = r
}

func find(ts *testscript.TestScript, name string) *running {
	r := benchOf(ts).running[name]
	if r == nil {
		ts.Fatalf("%s was not started", name)
	}
	return r
}

func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	usage{ts, neg, args}.need(2)
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	_, err = find(ts, args[0]).until(re)
	ts.Check(err)
}

func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	usage{ts, neg, args}.need(2)
	sig, ok := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL}[args[1]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[1])
	}
	ts.Check(find(ts, args[0]).cmd.Process.Signal(sig))
}

func cmdEnds(ts *testscript.TestScript, neg bool, args []string) {
	usage{ts, neg, args}.need(2)
	r := find(ts, args[0])
	code, err := r.ends()
	ts.Check(err)
	if strconv.Itoa(code) != args[1] {
		ts.Fatalf("%s exited with %d, want %s:\n%s", args[0], code, args[1], r.text())
	}
}

func cmdGet(ts *testscript.TestScript, neg bool, args []string) {
	usage{ts, neg, args}.need(3)
	token := strings.Join(args[3:], "")
	r := find(ts, args[0])
	m, err := r.until(regexp.MustCompile(`"admin address","listen":"([^"]+)"`))
	ts.Check(err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	for bound := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		status, body, err := get(client, "http://"+m[1]+args[1], token)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs("body.json"), body, 0o600))
		if strconv.Itoa(status) == args[2] {
			return
		}
		if time.Now().After(bound) {
			ts.Fatalf("%s answers %d, want %s: %s\n%s", args[1], status, args[2], body, r.text())
		}
	}
}

func get(client *http.Client, url, token string) (int, []byte, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, errors.Join(err, resp.Body.Close())
}

func cmdAPIOf(ts *testscript.TestScript, neg bool, args []string) {
	usage{ts, neg, args}.need(1)
	m, err := find(ts, args[0]).until(regexp.MustCompile(`"url":"(http://([^"]+))"`))
	ts.Check(err)
	ts.Setenv("ANTHROPIC_BASE_URL", m[1])
	ts.Setenv("API_ADDRESS", m[2])
}

func cmdAdminOf(ts *testscript.TestScript, neg bool, args []string) {
	usage{ts, neg, args}.need(1)
	m, err := find(ts, args[0]).until(regexp.MustCompile(`"admin address","listen":"([^"]+)"`))
	ts.Check(err)
	ts.Setenv("ADMIN", m[1])
}

func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	usage{ts, neg, args}.need(1)
	poll(ts, args[0]+" to appear", func() bool {
		_, err := os.Stat(ts.MkAbs(args[0]))
		return err == nil
	})
}

func cmdGone(ts *testscript.TestScript, neg bool, args []string) {
	usage{ts, neg, args}.need(1)
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	poll(ts, fmt.Sprintf("process %d to end", pid), func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
}

func poll(ts *testscript.TestScript, what string, ok func() bool) {
	if !testkit.Within(patience, ok) {
		ts.Fatalf("waited in vain for %s", what)
	}
}

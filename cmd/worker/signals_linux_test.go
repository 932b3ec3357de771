package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"toolhand/internal/testkit"
)

// silentServer is a tool of an MCP server that never answers: starts wait for it for ten
// seconds, reloads for three.
const silentServer = `name: silent
handler: { mcp: { command: [sh, -c, "echo $$ > pid; mv pid silent; exec sleep 300"], tools: "*" } }
`

// silentAt is silentServer with the file that tells its process in a folder.
func silentAt(dir string) string {
	return strings.ReplaceAll(silentServer, "mv pid ", "mv pid "+dir+"/")
}

// natsForSignals is the address of an external server.
func natsForSignals(t *testing.T) string {
	t.Helper()
	dir, port := t.TempDir(), freePorts(t, 1)[0]
	launchNATS(t, dir, "nats", fmt.Sprintf("listen: '127.0.0.1:%d'\njetstream { store_dir: '%s' }\n", port, filepath.Join(dir, "nats")))
	return fmt.Sprintf("nats://127.0.0.1:%d", port)
}

// signalled is a worker in a folder with files.
func signalled(t *testing.T, files map[string]string, attr *syscall.SysProcAttr, stdin *os.File, args ...string) *running {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r := &running{cmd: exec.Command("worker", args...), log: out.Name(), done: make(chan struct{})}
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr, r.cmd.SysProcAttr = dir, out, out, attr
	if stdin != nil {
		r.cmd.Stdin = stdin
	}
	r.cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "ANTHROPIC_API_KEY=any", "ANTHROPIC_BASE_URL=http://127.0.0.1:1")
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(r.done); _ = r.cmd.Wait() }()
	t.Cleanup(r.kill)
	return r
}

func signal1(t *testing.T, r *running, sig syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// says waits for a line of the log.
func says(t *testing.T, r *running, text string) {
	t.Helper()
	if _, err := r.until(regexp.MustCompile(text)); err != nil {
		t.Fatal(err)
	}
}

// endsWith waits for the exit code, for as long as bound.
func endsWith(t *testing.T, r *running, code int, bound time.Duration) {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(bound):
		t.Fatalf("it has not ended after %s:\n%s", bound, r.text())
	}
	if got := r.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d:\n%s", got, code, r.text())
	}
}

// awaitFile waits for a file, and returns what is in it.
func awaitFile(t *testing.T, path string) string {
	t.Helper()
	var text []byte
	testkit.Eventually(t, "the file "+path, func() (ok bool) {
		var err error
		text, err = os.ReadFile(path)
		return err == nil
	})
	return string(text)
}

// TestSignalsFlood: reloads coalesce, and no number of them delays a stop, or
// loses it. Each reload takes three seconds here.
func TestSignalsFlood(t *testing.T) {
	t.Parallel()
	srv := natsForSignals(t)
	for name, args := range map[string][]string{"run": {"run"}, "tools serve": {"tools", "serve"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := signalled(t, map[string]string{
				"worker.yaml":        fmt.Sprintf("admin: { listen: '' }\nnats: { url: '%s' }\n", srv),
				"tools.d/hello.yaml": "name: hello\ndescription: Say hello.\ninput_schema: { type: object }\nhandler: { exec: { command: [echo, hello] } }\n",
			}, nil, nil, args...)
			says(t, r, "worker started|serving tools")
			if err := os.WriteFile(filepath.Join(r.cmd.Dir, "tools.d", "silent.yaml"), []byte(silentServer), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 30 {
				signal1(t, r, syscall.SIGHUP)
				time.Sleep(2 * time.Millisecond) // so that the kernel does not merge them
			}
			says(t, r, "reloading tools")
			begun := time.Now()
			signal1(t, r, syscall.SIGTERM)
			says(t, r, `"msg":"stopping","signal":"terminated"`)
			if took := time.Since(begun); took > 2*time.Second {
				t.Errorf("the stop began after %s", took)
			}
			endsWith(t, r, 0, 15*time.Second)
			if n := strings.Count(r.text(), "reloading tools"); n > 2 {
				t.Errorf("%d reloads for 30 signals at once", n)
			}
		})
	}
}

// TestSecondSignalWhileStarting: the start waits for a server that is silent, and
// the second signal does not.
func TestSecondSignalWhileStarting(t *testing.T) {
	t.Parallel()
	srv := natsForSignals(t)
	for name, args := range map[string][]string{"run": {"run"}, "tools serve": {"tools", "serve"}, "demo": {"demo", "--tools-dir", "tools.d"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := t.TempDir()
			r := signalled(t, map[string]string{
				"worker.yaml":         fmt.Sprintf("admin: { listen: '' }\nnats: { url: '%s' }\n", srv),
				"tools.d/silent.yaml": silentAt(told),
			}, nil, nil, args...)
			pid := strings.TrimSpace(awaitFile(t, filepath.Join(told, "silent")))
			signal1(t, r, syscall.SIGTERM)
			time.Sleep(50 * time.Millisecond) // so that the kernel does not merge them
			signal1(t, r, syscall.SIGINT)
			endsWith(t, r, 1, 3*time.Second)
			if !strings.Contains(r.text(), "stopped by a second signal") {
				t.Errorf("it does not say why:\n%s", r.text())
			}
			testkit.Eventually(t, "the server that it had started ends", func() bool {
				_, err := os.Stat("/proc/" + pid)
				return err != nil
			})
		})
	}
}

// openTerminal makes a terminal: its keyboard's end, and the other one.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// TestTerminalGone: SIGHUP reloads while the terminal is there, and stops when it
// is gone; twice, as the kernel and the shell send it, it is no second signal.
func TestTerminalGone(t *testing.T) {
	t.Parallel()
	srv := natsForSignals(t)
	for name, c := range map[string]struct {
		args  []string
		begun string
		stops bool // there is nothing to reload: SIGHUP always stops it
	}{
		"run":         {[]string{"run"}, "worker started", false},
		"tools serve": {[]string{"tools", "serve"}, "serving tools", false},
		"sim":         {[]string{"sim", "--listen", "127.0.0.1:0", "hello"}, "the simulated API listens", true},
		"demo":        {[]string{"demo", "--keep"}, "kept running", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			master, slave := openTerminal(t)
			r := signalled(t, map[string]string{
				"worker.yaml":        fmt.Sprintf("admin: { listen: '' }\nnats: { url: '%s' }\nlog: { format: json }\n", srv),
				"tools.d/hello.yaml": "name: hello\ndescription: Say hello.\ninput_schema: { type: object }\nhandler: { exec: { command: [echo, hello] } }\n",
			}, &syscall.SysProcAttr{Setsid: true, Setctty: true}, slave, c.args...)
			_ = slave.Close()
			says(t, r, c.begun)
			if !c.stops {
				signal1(t, r, syscall.SIGHUP)
				says(t, r, "the tools were reloaded")
			}
			if err := master.Close(); err != nil {
				t.Fatal(err)
			}
			_ = r.cmd.Process.Signal(syscall.SIGHUP) // it may have ended
			endsWith(t, r, 0, 15*time.Second)
			if !c.stops && !strings.Contains(r.text(), "the terminal is gone") {
				t.Errorf("it does not say why:\n%s", r.text())
			}
		})
	}
}

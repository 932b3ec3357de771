package exec_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	toolexec "toolhand/internal/tools/exec"
	"toolhand/internal/tools/handlertest"
	"toolhand/internal/tools/proctree"
)

func TestExecAnswers(t *testing.T) {
	handlertest.EachTree(t, func(t *testing.T, procs *proctree.Processes) {
		for _, c := range []struct {
			name, line, want string
			isError          bool
		}{
			{"stdout", `cat; echo aside >&2`, `{"a":1}`, false},
			{"nothing", `:`, "(no output)", false},
			{"status", `echo out; echo err >&2; exit 3`, "out\n[stderr]\nerr\n[exit status 3]", true},
			{"status alone", `exit 1`, "[exit status 1]", true},
			{"signal", `printf out; kill -9 $$`, "out\n[killed by SIGKILL (killed)]", true},
			{"blocks of a failure are text", `echo '{"content":[]}'; exit 1`, "{\"content\":[]}\n[exit status 1]", true},
			{"no program", `no-such-program-at-all 2>/dev/null`, "[exit status 127]", true},
		} {
			t.Run(c.name, func(t *testing.T) {
				text, isError := handlertest.Call(t, handlertest.Shell(t, procs, c.line), `{"a":1}`)
				if text != c.want || isError != c.isError {
					t.Errorf("got %q, error %t", text, isError)
				}
			})
		}
	})
}

// TestFailureIsBounded fills both outputs: what is shown holds the beginning of
// the one, the end of the other, and the status.
func TestFailureIsBounded(t *testing.T) {
	procs := handlertest.Processes(t)
	line := `printf begin; head -c 300000 /dev/zero | tr '\0' o; head -c 300000 /dev/zero | tr '\0' e >&2; printf last >&2; exit 7`
	for _, bound := range []int{50, 1000, 100_000} {
		h := handlertest.Shell(t, procs, line, func(_ *toolexec.Config, common *tools.Common) { common.MaxResultBytes = bound })
		text, isError := handlertest.Call(t, h, `{}`)
		if !isError || len(text) > bound || !strings.HasSuffix(text, "last\n[exit status 7]") || bound > 100 && !strings.HasPrefix(text, "begin") {
			t.Errorf("bound %d: %d bytes: %.60q … %.60q", bound, len(text), text, text[max(0, len(text)-60):])
		}
	}
}

// TestInputNobodyReads gives more input than a pipe holds to programs that don't
// read it, or not all of it.
func TestInputNobodyReads(t *testing.T) {
	procs := handlertest.Processes(t)
	input := `{"a":"` + strings.Repeat("x", 3<<20) + `"}`
	for line, want := range map[string]string{
		`echo ok`:                       "ok\n",
		`head -c 5`:                     `{"a":`,
		`exec <&-; sleep 0.1; echo ok`:  "ok\n",
		`sleep 100 <&0 & sleep 0.1; :`:  "(no output)",
		`wc -c`:                         "3145736\n",
		`yes | head -c 1000000; wc -c `: "",
	} {
		text, isError := handlertest.Call(t, handlertest.Shell(t, procs, line), input)
		if isError || want != "" && strings.TrimLeft(text, " ") != want {
			t.Errorf("%s: got %.100q, error %t", line, text, isError)
		}
	}
}

// TestGrandchildHoldsStdout leaves a process behind that holds stdout: the call
// is a success all the same, soon, and the process is stopped.
func TestGrandchildHoldsStdout(t *testing.T) {
	handlertest.EachTree(t, func(t *testing.T, procs *proctree.Processes) {
		dir := t.TempDir()
		h := handlertest.Shell(t, procs, `(echo $$; exec sleep 300) & echo $! > pid; echo started`, func(cfg *toolexec.Config, _ *tools.Common) { cfg.Dir = dir })
		begin := time.Now()
		text, isError := handlertest.Call(t, h, `{}`)
		if isError || !strings.Contains(text, "started\n") {
			t.Errorf("got %q, error %t", text, isError)
		}
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
		pid, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err != nil {
			t.Fatal(err)
		}
		if unixAlive(strings.TrimSpace(string(pid))) {
			t.Error("the process is left")
		}
	})
}

// unixAlive asks the shell's way, which works on each system.
func unixAlive(pid string) bool {
	_, err := os.Stat("/proc/" + pid)
	return err == nil
}

func TestEnvironment(t *testing.T) {
	t.Setenv("ANTHROPIC_API_KEY", secretValue)
	t.Setenv("OTHER_SECRET", secretValue)
	worker := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": "/home/w", "LANG": "C", "TZ": "UTC", "TMPDIR": "/var/tmp",
		"PASSED": "p", "ANTHROPIC_API_KEY": secretValue, "OTHER_SECRET": secretValue, "USER": "w",
	}
	procs := handlertest.Processes(t)
	h := handlertest.Shell(t, procs, `exec env`, func(cfg *toolexec.Config, common *tools.Common) {
		cfg.Env = map[string]string{"CI": "1", "LANG": "de_DE.UTF-8"}
		cfg.PassEnv = []string{"PASSED"}
		common.LookupEnv = func(name string) (string, bool) { v, ok := worker[name]; return v, ok }
	})
	call := handlertest.NewCall(`{}`)
	call.Deadline = time.Date(2030, 1, 2, 3, 4, 5, 120, time.UTC)
	r, err := h.Call(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(handlertest.Text(t, r)), "\n")
	got = slices.DeleteFunc(got, func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		return name == "PWD" || name == "SHLVL" || name == "_" || name == "OLDPWD" // the shell's own
	})
	slices.Sort(got)
	want := []string{"CI=1", "HOME=/home/w", "LANG=de_DE.UTF-8", "PASSED=p", "PATH=" + os.Getenv("PATH"), "SESSION_ID=sesn_1", "SESSION_THREAD_ID=",
		"TMPDIR=/var/tmp", "TOOL_DEADLINE=2030-01-02T03:04:05.00000012Z", "TOOL_NAME=shell", "TOOL_USE_ID=sevt_1", "TZ=UTC"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const secretValue = "sk-ant-secret"

// TestUmask runs calls while files are created under the worker's own umask.
func TestUmask(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	handlertest.EachTree(t, func(t *testing.T, procs *proctree.Processes) {
		h := handlertest.Shell(t, procs, `umask`)
		dir := t.TempDir()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 10 {
					if text, _ := handlertest.Call(t, h, `{}`); text != "0022\n" {
						t.Errorf("a tool's umask is %q", text)
					}
				}
			})
		}
		done := make(chan struct{})
		go func() { all.Wait(); close(done) }()
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			name := filepath.Join(dir, "file")
			if err := os.WriteFile(name, nil, 0o666); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(name)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Fatalf("a file of the worker's has mode %v (%v)", info.Mode(), err)
			}
			os.Remove(name)
		}
	})
}

func TestOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can run a tool as another user")
	}
	handlertest.EachTree(t, func(t *testing.T, procs *proctree.Processes) {
		h := handlertest.Shell(t, procs, `id -un; echo $HOME; id -G; umask`, func(cfg *toolexec.Config, common *tools.Common) {
			cfg.User = "nobody"
			common.Dir = "/"
		})
		text, isError := handlertest.Call(t, h, `{}`)
		lines := strings.Split(text, "\n")
		if isError || len(lines) < 4 || lines[0] != "nobody" || lines[1] == "/root" || strings.Contains(" "+lines[2]+" ", " 0 ") || lines[3] != "0022" {
			t.Errorf("got %q", text)
		}
	})
}

func TestExecIsCheckedWhenMade(t *testing.T) {
	procs := handlertest.Processes(t)
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"plain": 0o644, "program": 0o755} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	ok := []string{"sh"}
	for _, c := range []struct {
		name string
		cfg  toolexec.Config
		want string // empty: no error
	}{
		{"bare name", toolexec.Config{Command: ok}, ""},
		{"relative to dir", toolexec.Config{Command: []string{"./program"}}, ""},
		{"name in env's PATH", toolexec.Config{Command: []string{"program"}, Env: map[string]string{"PATH": dir}}, ""},
		{"no command", toolexec.Config{}, "command: expected a program"},
		{"missing", toolexec.Config{Command: []string{"./missing"}}, "no such file"},
		{"missing bare name", toolexec.Config{Command: []string{"no-such-program"}}, "no program no-such-program in the tool's PATH"},
		{"bare name not in env's PATH", toolexec.Config{Command: ok, Env: map[string]string{"PATH": dir}}, "no program sh"},
		{"bare name is not looked up in dir", toolexec.Config{Command: []string{"program"}}, "no program program"},
		{"not executable", toolexec.Config{Command: []string{"./plain"}}, "not executable"},
		{"a directory", toolexec.Config{Command: []string{"/usr/bin/.."}}, "is a directory"},
		{"no dir", toolexec.Config{Command: ok, Dir: "none"}, "dir: "},
		{"dir is a file", toolexec.Config{Command: ok, Dir: "plain"}, "is not a directory"},
		{"pass_env not set", toolexec.Config{Command: ok, PassEnv: []string{"NOT_SET_ANYWHERE"}}, "pass_env: the variable NOT_SET_ANYWHERE is not set"},
		{"pass_env of ours", toolexec.Config{Command: ok, PassEnv: []string{"ANTHROPIC_API_KEY"}}, "ANTHROPIC_"},
		{"env of ours", toolexec.Config{Command: ok, Env: map[string]string{"ANTHROPIC_BASE_URL": "x"}}, "ANTHROPIC_"},
		{"env TOOL_NAME", toolexec.Config{Command: ok, Env: map[string]string{"TOOL_NAME": "x"}}, "TOOL_NAME is set by the worker"},
		{"env SESSION_THREAD_ID", toolexec.Config{Command: ok, Env: map[string]string{"SESSION_THREAD_ID": "x"}}, "SESSION_THREAD_ID is set by the worker"},
		{"env and pass_env", toolexec.Config{Command: ok, Env: map[string]string{"HOME": "x"}, PassEnv: []string{"HOME"}}, "keep one of them"},
		{"bad name", toolexec.Config{Command: ok, Env: map[string]string{"A=B": "x"}}, "not the name of a variable"},
		{"zero byte", toolexec.Config{Command: ok, Env: map[string]string{"A": "x\x00"}}, "zero byte"},
		{"no user", toolexec.Config{Command: ok, User: "no-such-user"}, `no user "no-such-user"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := toolexec.New(c.cfg, tools.Common{Name: "x", Dir: dir}, procs)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, expected %q", err, c.want)
			}
		})
	}
}

// TestProgramGone removes the program after it was checked, and opens it for
// writing: both times the call surely did not run, and the second passes.
func TestProgramGone(t *testing.T) {
	handlertest.EachTree(t, func(t *testing.T, procs *proctree.Processes) {
		dir := t.TempDir()
		name := filepath.Join(dir, "program")
		copyFile(t, "/bin/sleep", name)
		h, err := toolexec.New(toolexec.Config{Command: []string{"./program", "0"}}, tools.Common{Name: "x", Dir: dir}, procs)
		if err != nil {
			t.Fatal(err)
		}
		unavailable := func(why string, passing bool) {
			t.Helper()
			_, err := h.Call(t.Context(), handlertest.NewCall(`{}`))
			if u := (*tools.UnavailableError)(nil); !errors.As(err, &u) || !strings.Contains(err.Error(), why) || u.Passing != passing {
				t.Errorf("got %v, expected an UnavailableError with %q that passes: %t", err, why, passing)
			}
		}
		if runtime.GOOS == "linux" {
			busy, err := os.OpenFile(name, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			unavailable("is being replaced (text file busy)", true)
			busy.Close()
		}
		if text, isError := handlertest.Call(t, h, `{}`); text != content.NoOutput || isError {
			t.Errorf("got %q, error %t", text, isError)
		}
		os.Remove(name)
		unavailable("program "+name+" is gone", false)
	})
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestDescriptorsStayHere starts programs while files are open: none is handed
// down.
func TestDescriptorsStayHere(t *testing.T) {
	handlertest.EachTree(t, func(t *testing.T, procs *proctree.Processes) {
		file, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		h := handlertest.Shell(t, procs, `ls /dev/fd/ | wc -l`)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				// 0, 1, 2, and the directory that ls itself has open.
				if text, _ := handlertest.Call(t, h, `{}`); strings.TrimSpace(text) != "4" {
					t.Errorf("%s descriptors are open", text)
				}
			})
		}
		all.Wait()
	})
}

// TestManyCalls runs calls of all outcomes at once.
func TestManyCalls(t *testing.T) {
	handlertest.EachTree(t, func(t *testing.T, procs *proctree.Processes) {
		good := handlertest.Shell(t, procs, `cat; (setsid sleep 100 >/dev/null 2>&1 &)`)
		slow := handlertest.Shell(t, procs, `sleep 100`)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 5 {
					if text, isError := handlertest.Call(t, good, `{"a":1}`); text != `{"a":1}` || isError {
						t.Errorf("got %q, error %t", text, isError)
					}
				}
			})
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				if _, err := slow.Call(ctx, handlertest.NewCall(`{}`)); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
			})
		}
		all.Wait()
	})
}

func TestExecConforms(t *testing.T) {
	handlertest.EachTree(t, func(t *testing.T, procs *proctree.Processes) {
		handlertest.Run(t, tools.Common{Name: "exec_tool", Dir: t.TempDir()}, handlertest.Peer{
			New: func(t *testing.T, common tools.Common, b handlertest.Behaviour) tools.Handler {
				self, err := os.Executable()
				if err != nil {
					t.Fatal(err)
				}
				common.Name = "exec_tool"
				h, err := toolexec.New(toolexec.Config{Command: []string{self, handlertest.ChildArg, "serve", string(b)}, Env: handlertest.QuickExit()}, common, procs)
				if err != nil {
					t.Fatal(err)
				}
				return h
			},
			Unreachable: func(t *testing.T, common tools.Common) tools.Handler {
				program := filepath.Join(t.TempDir(), "program")
				write(t, program, "#!/bin/sh\n")
				h, err := toolexec.New(toolexec.Config{Command: []string{program}}, common, procs)
				if err != nil {
					t.Fatal(err)
				}
				write(t, program, "#!/no/such/interpreter\n")
				return h
			},
			Stop: 3 * time.Second,
		})
	})
}

func TestExecLive(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h, err := toolexec.New(toolexec.Config{Command: []string{program}}, tools.Common{Name: "x", Dir: t.TempDir()}, handlertest.Processes(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := handlertest.Live(t, h); err != nil {
		t.Errorf("it is there: %v", err)
	}
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if err := handlertest.Live(t, h); err == nil {
		t.Error("it is gone")
	}
}

// TestHTTPLive: the server is found, and asked for nothing.

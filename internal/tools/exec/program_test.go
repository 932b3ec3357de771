package exec_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"toolhand/internal/tools"
	toolexec "toolhand/internal/tools/exec"
	"toolhand/internal/tools/handlertest"
	"toolhand/internal/tools/proctree"
)

// write makes a program of a text.
func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// asFound are programs as people have them, and what is said of those that the system
// would not start; empty: it starts them. DIR stands for their folder.
var asFound = []struct{ name, file, text, want string }{
	{"a script", "x.sh", "#!/bin/sh\necho ok\n", ""},
	{"blanks around the interpreter", "x.sh", "#! \t/bin/sh -e \necho ok\n", ""},
	{"found by env", "x.sh", "#!/usr/bin/env sh\necho ok\n", ""},
	{"found by env -S", "x.sh", "#!/usr/bin/env -S sh -e\necho ok\n", ""},
	{"env with a variable", "x.sh", "#!/usr/bin/env -S A=b sh\necho ok\n", ""},
	{"an interpreter that is a script", "x.sh", "#!./run.sh\n", ""},
	{"a relative interpreter", "x.sh", "#!sh\necho ok\n", ""},
	{"no line of an interpreter", "x.sh", "echo ok\n", `DIR/x.sh has no "#!" line, so that the system can't tell what runs it: add #!/bin/sh as its first line, or name the interpreter: command: [sh, ./x.sh]`},
	{"no line of an interpreter, Python", "x.py", "print(1)\n", `add #!/usr/bin/env python3 as its first line, or name the interpreter: command: [python3, ./x.py]`},
	{"a byte order mark", "x.sh", "\xef\xbb\xbf#!/bin/sh\necho ok\n", "begins with a byte order mark"},
	{"empty", "x.sh", "", "DIR/x.sh is empty"},
	{"no interpreter named", "x.sh", "#! \necho ok\n", `names no interpreter in its "#!" line`},
	{"line ends of Windows", "x.sh", "#!/bin/sh\r\necho ok\r\n", `the lines of DIR/x.sh end as on Windows, so that the system looks for the interpreter "/bin/sh\r": convert it (sed -i 's/\r$//' DIR/x.sh)`},
	{"line ends of Windows, with an option", "x.sh", "#!/bin/sh -e\r\necho ok\r\n", "end as on Windows"},
	{"line ends of Windows, by env", "x.sh", "#!/usr/bin/env sh\r\necho ok\r\n", "end as on Windows"},
	{"no such interpreter", "x.sh", "#!/opt/none/bin/tclsh\nputs ok\n", `DIR/x.sh names the interpreter /opt/none/bin/tclsh in its "#!" line, which is not there`},
	{"env finds none", "x.sh", "#!/usr/bin/env no-such-interpreter\n", `names the interpreter no-such-interpreter in its "#!" line, which is not in the tool's PATH "`},
	{"an interpreter that is not executable", "x.sh", "#!/etc/passwd\n", "the interpreter of DIR/x.sh: /etc/passwd is not executable"},
	{"an interpreter whose interpreter is missing", "x.sh", "#!./broken.sh\n", "DIR/broken.sh names the interpreter /none"},
}

func TestProgramsAsFound(t *testing.T) {
	procs := handlertest.Processes(t)
	for _, c := range asFound {
		t.Run(c.name, func(t *testing.T) {
			if strings.HasPrefix(c.text, "#!./") && runtime.GOOS != "linux" {
				t.Skip("NOT TESTED: this system takes no script for an interpreter")
			}
			dir := t.TempDir()
			if err := os.Symlink("/bin/sh", filepath.Join(dir, "sh")); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "run.sh"), "#!/bin/sh\necho ok\n")
			write(t, filepath.Join(dir, "broken.sh"), "#!/none\n")
			file := filepath.Join(dir, c.file)
			write(t, file, c.text)
			want := strings.ReplaceAll(c.want, "DIR", dir)
			cfg, common := toolexec.Config{Command: []string{"./" + c.file}}, tools.Common{Name: "x", Dir: dir}
			h, err := toolexec.New(cfg, common, procs)
			if want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if text, isError := handlertest.Call(t, h, `{}`); text != "ok\n" || isError {
					t.Errorf("got %q, error %t", text, isError)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), "command: ") || !strings.Contains(err.Error(), want) {
				t.Errorf("when it is made: got %v, expected %q", err, want)
			}
			callChanged(t, procs, dir, c.file, c.text, want)
		})
	}
}

// callChanged makes a handler of a good program that becomes another one, and calls it.
// Where the system starts it all the same, the program's own failure is the answer.
func callChanged(t *testing.T, procs *proctree.Processes, dir, name, text, want string) {
	t.Helper()
	file := filepath.Join(dir, name)
	write(t, file, "#!/bin/sh\n")
	h, err := toolexec.New(toolexec.Config{Command: []string{"./" + name}}, tools.Common{Name: "x", Dir: dir}, procs)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, text)
	if err := handlertest.Live(t, h); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("asked: got %v, expected %q", err, want)
	}
	r, err := h.Call(t.Context(), handlertest.NewCall(`{}`))
	if err == nil && r.IsError {
		return
	}
	checkUnavailable(t, err, want)
}

func checkUnavailable(t *testing.T, err error, want string) {
	t.Helper()
	var u *tools.UnavailableError
	if !errors.As(err, &u) || !strings.Contains(err.Error(), want) || u.Passing {
		t.Errorf("called: got %T %v, expected an UnavailableError with %q", err, err, want)
	}
}

func TestEnvTakesOneName(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("NOT TESTED: this system takes the line apart")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "x.sh"), "#!/usr/bin/env sh -e\n")
	_, err := toolexec.New(toolexec.Config{Command: []string{"./x.sh"}}, tools.Common{Name: "x", Dir: dir}, handlertest.Processes(t))
	if err == nil || !strings.Contains(err.Error(), `gives env the name of one program, "sh -e": write #!/usr/bin/env -S sh -e`) {
		t.Errorf("got %v", err)
	}
}

// TestCommandOfOneElement: a line is not a list.
func TestCommandOfOneElement(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "x.sh"), "#!/bin/sh\n")
	write(t, filepath.Join(dir, "with space"), "#!/bin/sh\n")
	for command, want := range map[string]string{
		"./with space":      "",
		"./x.sh --all":      `command: no program "./x.sh --all": each argument is an element of its own: write ["./x.sh", "--all"]`,
		"python3  x.py":     `write ["python3", "x.py"]`,
		"sh -c 'echo $A'":   `write ["sh", "-c", "sh -c 'echo $A'"]`,
		"./x.sh/y z":        `write ["./x.sh/y", "z"]`,
		"no-such-program-x": `no program no-such-program-x in the tool's PATH`,
	} {
		_, err := toolexec.New(toolexec.Config{Command: []string{command}}, tools.Common{Name: "x", Dir: dir}, handlertest.Processes(t))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, expected %q", command, err, want)
		}
	}
}

// TestGoneAtTheCall removes what was there when the handler was made.
func TestGoneAtTheCall(t *testing.T) {
	procs := handlertest.Processes(t)
	for name, c := range map[string]struct {
		change func(dir string) error
		want   string
	}{
		"the program":               {func(dir string) error { return os.Remove(filepath.Join(dir, "bin/x.sh")) }, "its program DIR/bin/x.sh is gone"},
		"the folder of the program": {func(dir string) error { return os.RemoveAll(filepath.Join(dir, "bin")) }, "its program DIR/bin/x.sh is gone"},
		"the working folder":        {func(dir string) error { return os.Remove(filepath.Join(dir, "here")) }, "its working folder DIR/here is gone"},
		"the interpreter":           {func(dir string) error { return os.Remove(filepath.Join(dir, "sh")) }, "DIR/bin/x.sh names the interpreter DIR/sh"},
		"the right to execute":      {func(dir string) error { return os.Chmod(filepath.Join(dir, "bin/x.sh"), 0o644) }, "DIR/bin/x.sh is not executable (chmod +x it)"},
		"the folder is a file now": {func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "here")), os.WriteFile(filepath.Join(dir, "here"), nil, 0o644))
		}, "its working folder DIR/here is not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, folder := range []string{"bin", "here"} {
				if err := os.Mkdir(filepath.Join(dir, folder), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink("/bin/sh", filepath.Join(dir, "sh")); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "bin/x.sh"), "#!"+dir+"/sh\n")
			h, err := toolexec.New(toolexec.Config{Command: []string{"../bin/x.sh"}, Dir: "here"}, tools.Common{Name: "x", Dir: dir}, procs)
			if err != nil {
				t.Fatal(err)
			}
			if err := handlertest.Live(t, h); err != nil {
				t.Error(err)
			}
			if err := c.change(dir); err != nil {
				t.Fatal(err)
			}
			want := strings.ReplaceAll(c.want, "DIR", dir)
			if err := handlertest.Live(t, h); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("asked: got %v, expected %q", err, want)
			}
			_, err = h.Call(t.Context(), handlertest.NewCall(`{}`))
			checkUnavailable(t, err, want)
		})
	}
}

// elfFile is a program of a machine, as far as its head says, which names a loader.
func elfFile(machine elf.Machine, loader string) string {
	var b bytes.Buffer
	head := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	part := elf.Prog64{Type: uint32(elf.PT_INTERP), Off: 120, Filesz: uint64(len(loader) + 1)}
	_ = binary.Write(&b, binary.LittleEndian, head)
	_ = binary.Write(&b, binary.LittleEndian, part)
	b.WriteString(loader + "\x00")
	return b.String()
}

// TestForeignPrograms are in formats that only an emulator runs, where there is one: a
// warning where that can't be known, and named in the call.
func TestForeignPrograms(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("NOT TESTED: these are formats of Linux")
	}
	other, own := elf.EM_S390, map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]
	if own == 0 {
		t.Skip("NOT TESTED: the machine is not known to the test")
	}
	procs := handlertest.Processes(t)
	for name, c := range map[string]struct{ text, want string }{
		"another machine": {elfFile(other, "/lib/ld.so"), "DIR/x is a program for another architecture, s390, and this machine is "},
		"Windows":         {"MZ\x90\x00\x03", "DIR/x is a program of Windows"},
		"noise":           {"\x00\x01\x02", "DIR/x is neither a program nor a script"},
		"another libc":    {elfFile(own, "/lib/ld-none.so.1"), "DIR/x needs the loader /lib/ld-none.so.1, which is not there: it was built for another C library"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			want := strings.ReplaceAll(c.want, "DIR", dir)
			write(t, filepath.Join(dir, "x"), c.text)
			var log bytes.Buffer
			common := tools.Common{Name: "x", Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))}
			h, err := toolexec.New(toolexec.Config{Command: []string{"./x"}}, common, procs)
			if err != nil {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, expected %q", err, want)
				}
				write(t, filepath.Join(dir, "x"), "#!/bin/sh\n")
				if h, err = toolexec.New(toolexec.Config{Command: []string{"./x"}}, common, procs); err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(dir, "x"), c.text)
			} else if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), want) {
				t.Errorf("no error and no warning, expected %q: %s", want, log.String())
			}
			_, err = h.Call(t.Context(), handlertest.NewCall(`{}`))
			checkUnavailable(t, err, want)
		})
	}
}

// TestRegisteredFormats reads what Linux shows of the formats that have a helper.
func TestRegisteredFormats(t *testing.T) {
	dir := t.TempDir()
	head := []byte("\x7fELF\x02")
	ask := func(ext string, wantClaimed, wantKnown bool) {
		t.Helper()
		if claimed, known := toolexec.Registered(dir, head, ext); claimed != wantClaimed || known != wantKnown {
			t.Errorf("claimed %t, known %t", claimed, known)
		}
	}
	ask("", false, false)
	write(t, filepath.Join(dir, "status"), "enabled\n")
	write(t, filepath.Join(dir, "python3.12"), "enabled\ninterpreter /usr/bin/python3.12\nflags: \noffset 0\nmagic cb0d0d0a\n")
	ask("", false, true)
	write(t, filepath.Join(dir, "qemu-arm"), "disabled\ninterpreter /usr/bin/qemu-arm\nflags: F\noffset 0\nmagic 7f454c46010101\n")
	ask("", false, true)
	write(t, filepath.Join(dir, "qemu-s390x"), "enabled\ninterpreter /usr/bin/qemu-s390x\nflags: F\noffset 0\nmagic 7f454c46020201\n")
	ask("", true, true)
	head = []byte("main()")
	write(t, filepath.Join(dir, "own"), "enabled\ninterpreter /usr/bin/own\nflags: \nextension .own\n")
	ask(".own", true, true)
	ask(".ow", false, true)
}

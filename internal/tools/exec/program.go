package exec

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// headSize is how much of a file's beginning Linux reads to find out what runs it,
	// in bytes (BINPRM_BUF_SIZE).
	headSize = 256
	// maxChain is how many interpreters that are scripts themselves Linux follows.
	maxChain = 4
)

// A program is a file that is to be started. It is immutable.
type program struct {
	path   string // absolute
	dir    string // absolute; where it runs
	search string // its PATH
	own    bool   // it runs as the worker's own user
}

// A foreignError tells of a file in a format that the system itself does not run.
type foreignError struct {
	text string
	// maybe reports that a helper may be registered that runs it, such as an emulator.
	maybe bool
}

func (e *foreignError) Error() string { return e.text }

// isForeign reports whether err tells of a file that may run all the same.
func isForeign(err error) bool {
	var foreign *foreignError
	return errors.As(err, &foreign) && foreign.maybe
}

// check says why the system would refuse to start the program, as far as its files
// show. What can't be read is taken to be well.
func (p program) check() error { return p.checkFile(p.path, 0) }

func (p program) checkFile(file string, depth int) error {
	if err := executable(file, p.own); err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil // it may be executed, and not read
	}
	defer f.Close()
	head := make([]byte, headSize)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	head = head[:n]
	switch {
	case n == 0:
		return fmt.Errorf("%s is empty", file)
	case bytes.HasPrefix(head, []byte("#!")):
		return p.checkScript(file, head, depth)
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf#!")):
		return fmt.Errorf(`%s begins with a byte order mark, so that the system does not see its "#!" line: remove it (sed -i '1s/^\xef\xbb\xbf//' %[1]s)`, file)
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return p.checkELF(f, file, head)
	case bytes.IndexByte(head, 0) < 0:
		return p.checkText(file, head)
	case runtime.GOOS == "linux":
		return foreign(head, file, "%s is %s, which Linux does not run", file, formatOf(head))
	}
	return nil
}

// checkText is for a text that no line says the interpreter of.
func (p program) checkText(file string, head []byte) error {
	if claimed, _ := registered(formatsDir, head, filepath.Ext(file)); claimed {
		return nil
	}
	name, line := interpreterOf(file)
	return fmt.Errorf(`%s has no "#!" line, so that the system can't tell what runs it: add %s as its first line, or name the interpreter: command: [%s, %s]`,
		file, line, name, p.inDir(file))
}

// interpreterOf guesses what runs a script from its name.
func interpreterOf(file string) (name, line string) {
	known := map[string]string{".py": "python3", ".js": "node", ".mjs": "node", ".rb": "ruby", ".pl": "perl", ".bash": "bash"}
	if name := known[filepath.Ext(file)]; name != "" {
		return name, "#!/usr/bin/env " + name
	}
	return "sh", "#!/bin/sh"
}

// inDir is how a manifest names a file.
func (p program) inDir(file string) string {
	if rest, below := strings.CutPrefix(file, p.dir+"/"); below {
		return "./" + rest
	}
	return file
}

// checkScript looks for the interpreter that a script names, as Linux reads its line.
func (p program) checkScript(file string, head []byte, depth int) error {
	rest, _, whole := strings.Cut(string(head[2:]), "\n")
	line := strings.Trim(rest, " \t")
	name, arg := line, ""
	if at := strings.IndexAny(line, " \t"); at >= 0 {
		name, arg = line[:at], strings.TrimLeft(line[at:], " \t")
	}
	switch {
	case strings.Trim(name, "\r") == "":
		return fmt.Errorf(`%s names no interpreter in its "#!" line`, file)
	case !whole && len(head) == headSize && arg == "":
		return fmt.Errorf(`the "#!" line of %s is longer than the %d bytes that Linux reads`, file, headSize)
	}
	at := name
	if !filepath.IsAbs(at) {
		at = filepath.Join(p.dir, at)
	}
	err := executable(at, p.own)
	switch {
	case missing(err) && strings.HasSuffix(name, "\r"), isShell(name) && strings.HasSuffix(arg, "\r"):
		return errLineEnds(file, line)
	case missing(err):
		return fmt.Errorf(`%s names the interpreter %s in its "#!" line, which is not there: install it, or change the line`, file, name)
	case err != nil:
		return fmt.Errorf("the interpreter of %s: %w", file, err)
	case filepath.Base(name) == "env":
		return p.checkEnv(file, arg)
	case depth < maxChain:
		return p.checkFile(at, depth+1)
	}
	return nil
}

// isShell reports whether an interpreter is a shell, which takes a carriage return for a
// part of its option.
func isShell(name string) bool {
	return slices.Contains([]string{"sh", "ash", "bash", "dash", "ksh", "zsh"}, filepath.Base(name))
}

func errLineEnds(file, line string) error {
	return fmt.Errorf(`the lines of %s end as on Windows, so that the system looks for the interpreter %q: convert it (sed -i 's/\r$//' %[1]s)`, file, line)
}

// checkEnv looks for the program that env is to find, where its name is plain.
func (p program) checkEnv(file, arg string) error {
	name, split := strings.CutPrefix(arg, "-S")
	name = strings.TrimLeft(name, " \t")
	if words := strings.Fields(name); len(words) > 0 && (split || runtime.GOOS != "linux") {
		name = words[0] // the system gives all of the line as one argument, but for macOS
	}
	if name == "" || p.search == "" || name[0] == '-' || strings.ContainsAny(name, "=/\\'\"$") {
		return nil
	}
	found, denied := lookUp(name, p.dir, p.search, p.own)
	switch {
	case found != "":
		return nil
	case strings.HasSuffix(arg, "\r"):
		return errLineEnds(file, arg)
	case denied != nil:
		return fmt.Errorf("the interpreter of %s: %w", file, denied)
	case strings.ContainsAny(name, " \t"):
		return fmt.Errorf(`the "#!" line of %s gives env the name of one program, %q: write #!/usr/bin/env -S %[2]s`, file, name)
	}
	return fmt.Errorf(`%s names the interpreter %s in its "#!" line, which is not in the tool's PATH %q`, file, name, p.search)
}

// checkELF looks at the machine that a program is for, and for its loader.
func (p program) checkELF(f io.ReaderAt, file string, head []byte) error {
	if runtime.GOOS != "linux" {
		return foreign(head, file, "%s is a program of Linux", file)
	}
	e, err := elf.NewFile(f)
	if err != nil {
		return nil // the system reads less of it
	}
	machines := map[string][]elf.Machine{
		"386": {elf.EM_386, elf.EM_X86_64}, "amd64": {elf.EM_X86_64, elf.EM_386},
		"arm": {elf.EM_ARM, elf.EM_AARCH64}, "arm64": {elf.EM_AARCH64, elf.EM_ARM},
		"ppc64le": {elf.EM_PPC64}, "riscv64": {elf.EM_RISCV}, "s390x": {elf.EM_S390},
	}[runtime.GOARCH]
	if len(machines) > 0 && !slices.Contains(machines, e.Machine) {
		return foreign(head, file, "%s is a program for another architecture, %s, and this machine is %s: take the one for this machine",
			file, machineName(e.Machine), machineName(machines[0]))
	}
	for _, part := range e.Progs {
		if part.Type != elf.PT_INTERP {
			continue
		}
		text := make([]byte, min(part.Filesz, headSize))
		n, _ := io.ReadFull(part.Open(), text)
		loader, _, _ := strings.Cut(string(text[:n]), "\x00")
		if _, err := os.Stat(loader); filepath.IsAbs(loader) && missing(err) {
			return fmt.Errorf("%s needs the loader %s, which is not there: it was built for another C library (glibc or musl)", file, loader)
		}
	}
	return nil
}

func machineName(m elf.Machine) string {
	return strings.ToLower(strings.TrimPrefix(m.String(), "EM_"))
}

// formatOf names what is known not to run on Linux.
func formatOf(head []byte) string {
	for magic, name := range map[string]string{
		"MZ": "a program of Windows", "\xcf\xfa\xed\xfe": "a program of macOS", "\xca\xfe\xba\xbe": "a program of macOS, or a class of Java",
	} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return name
		}
	}
	return "neither a program nor a script"
}

// foreign makes a foreignError of a file.
func foreign(head []byte, file, format string, args ...any) error {
	claimed, known := registered(formatsDir, head, filepath.Ext(file))
	return &foreignError{text: fmt.Sprintf(format, args...), maybe: claimed || !known}
}

// formatsDir is where Linux shows which other formats have a helper that runs them.
const formatsDir = "/proc/sys/fs/binfmt_misc"

// registered reports whether a helper may be registered for a file. known is false where
// the system does not show it, as in most containers.
func registered(dir string, head []byte, ext string) (claimed, known bool) {
	if _, err := os.Stat(filepath.Join(dir, "status")); err != nil {
		return false, false
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, false
	}
	magic := fmt.Sprintf("\nmagic %x", head[:min(2, len(head))]) // the rest may be masked
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil || !bytes.HasPrefix(text, []byte("enabled\n")) {
			continue
		}
		if bytes.Contains(text, []byte(magic)) || ext != "" && bytes.Contains(text, []byte("\nextension "+ext+"\n")) {
			return true, true
		}
	}
	return false, true
}

// executable says why a file can't be executed.
func executable(file string, own bool) error {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a directory", file)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file", file)
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not executable (chmod +x it)", file)
	case noexec(file):
		name, _ := interpreterOf(file)
		return fmt.Errorf("%s is on a file system that is mounted noexec, where nothing is executed: move it, or name the interpreter of a script: command: [%s, %s]", file, name, file)
	case own && unix.Access(file, unix.X_OK) != nil:
		return fmt.Errorf("%s is not executable for the worker's user (its mode is %v)", file, info.Mode())
	}
	return nil
}

// missing reports whether an error says that a file is not there.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

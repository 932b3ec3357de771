package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestREADME runs the blocks of README.md that are marked sh, one after the
// other in one folder with the repository's tools.d. `make` only shows what it
// would run: that the target is there.
func TestREADME(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)\n```sh\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) < 4 {
		t.Fatalf("README.md has %d blocks marked sh", len(blocks))
	}
	worker, err := exec.LookPath("worker")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "tools.d"), os.DirFS(filepath.Join(root, "tools.d"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(worker, filepath.Join(dir, "bin/worker")); err != nil {
		t.Fatal(err)
	}
	for _, block := range blocks {
		cmd := exec.CommandContext(t.Context(), "sh", "-eu", "-c", `make() { command make -n -C "$ROOT" "$@"; }`+"\n"+string(block[1]))
		cmd.Dir = dir
		cmd.Env = []string{"ROOT=" + root, "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GORACE=atexit_sleep_ms=0"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s\n%v:\n%s", block[1], err, out)
		}
	}
}

// TestREADMEMessages: what the README says that the log says, it says at that level.
func TestREADMEMessages(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	code := ""
	err = filepath.WalkDir(filepath.Join(root, "internal"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		code += string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("\n\\| (ERROR|WARN) \\| `([^`]+)`").FindAllStringSubmatch(string(text), -1)
	if len(rows) < 10 {
		t.Fatalf("the README has %d messages", len(rows))
	}
	for _, row := range rows {
		level := map[string]string{"ERROR": `Error\(`, "WARN": `Warn\(`}[row[1]]
		said := regexp.MustCompile(level + `(ctx, )?"` + regexp.QuoteMeta(row[2]))
		if !said.MatchString(code) && !strings.Contains(code, `report("`+row[2]+`"`) {
			t.Errorf("nothing logs %q at %s", row[2], row[1])
		}
	}
}

// TestREADMEDemo: what README.md shows of the demo is what the demo prints, but for
// numbers.
func TestREADMEDemo(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)\nmake demo\n.*?\n```text\n(.*?)```").FindSubmatch(text)
	if shown == nil {
		t.Fatal("README.md shows nothing of the demo")
	}
	cmd := exec.CommandContext(t.Context(), "worker", "demo")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GORACE=atexit_sleep_ms=0"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	// The number of digits changes the spaces beside them.
	form := func(line []byte) string {
		return string(regexp.MustCompile(` *\d+`).ReplaceAll(bytes.TrimRight(line, "\n"), []byte("0")))
	}
	printed := map[string]bool{}
	for line := range bytes.Lines(out) {
		printed[form(line)] = true
	}
	for line := range bytes.Lines(shown[1]) {
		if line := form(line); line != "…" && !printed[line] {
			t.Errorf("the demo does not print %q:\n%s", line, out)
		}
	}
}

// TestREADMELinks finds links to files that are gone.
func TestREADMELinks(t *testing.T) {
	for _, page := range []string{"README.md", "docs/goroutines.md", "docs/queue.md", "docs/sim.md", "docs/write-a-tool.md"} {
		text, err := os.ReadFile(filepath.Join("../..", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range regexp.MustCompile(`\]\(([^):#]+)\)`).FindAllSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("../..", filepath.Dir(page), string(link[1]))); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

// TestFiveMinutes: what can be read in five minutes has at most 60 lines, and stands first.
func TestFiveMinutes(t *testing.T) {
	text, err := os.ReadFile("../../docs/write-a-tool.md")
	if err != nil {
		t.Fatal(err)
	}
	first, more, found := bytes.Cut(text, []byte("\n# More"))
	if n := bytes.Count(first, []byte("\n")); n > 60 || !found {
		t.Errorf("docs/write-a-tool.md begins with %d lines for five minutes", n)
	}
	if n := bytes.Count(more, []byte("\n")); n > 110 {
		t.Errorf("docs/write-a-tool.md has %d more lines", n)
	}
}

// TestWriteATool runs the manifests of docs/write-a-tool.md, and holds its table of
// variables to what a program gets.
func TestWriteATool(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/write-a-tool.md")
	if err != nil {
		t.Fatal(err)
	}
	worker, err := exec.LookPath("worker")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "tools.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?s)\n```yaml\n# (tools.d/[a-z_]+.yaml)\n(.*?)```").FindAllSubmatch(text, -1) {
		write(string(block[1]), string(block[2]))
	}
	write("tools.d/dot.png", "\x89PNG\r\n\x1a\n")
	write("tools.d/lines.txt", "one\ntwo\n")
	write("tools.d/variables.yaml", "name: variables\ndescription: d\ninput_schema: { type: object }\nhandler: { exec: { command: [env] } }\n")
	call := func(fails bool, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), worker, append([]string{"tools"}, args...)...)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GORACE=atexit_sleep_ms=0"}
		out, err := cmd.Output()
		if (err != nil) != fails {
			t.Errorf("%s: %v\n%s", args, err, out)
		}
		return string(out)
	}
	call(false, "check")
	if got := call(false, "call", "dot"); !regexp.MustCompile(`(?s)^A dot:\n\{"type":"image".*"iVBORw0KGgo="`).MatchString(got) {
		t.Errorf("dot: %s", got)
	}
	if got := call(false, "call", "scratch", `{"a":1}`); strings.TrimSpace(got) != "7" {
		t.Errorf("scratch: %s", got)
	}
	call(true, "call", "count_lines", `{"path":"../lines.txt"}`)
	if _, err := exec.LookPath("jq"); err == nil || os.Getenv("CI") != "" {
		if got := call(false, "call", "count_lines", `{"path":"lines.txt"}`); strings.TrimSpace(got) != "2" {
			t.Errorf("count_lines: %s", got)
		}
	}
	for name := range strings.Lines(call(false, "call", "variables")) {
		name, _, _ = strings.Cut(name, "=")
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/write-a-tool.md does not tell of the variable %s", name)
		}
	}
}

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGoroutinesPage holds docs/goroutines.md to the code: a file has as many
// rows there as it has places that start a goroutine.
func TestGoroutinesPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/goroutines.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+\\.go)` \\|").FindAllStringSubmatch(string(page), -1) {
		rows[m[1]]++
	}
	starts := map[string]int{}
	for _, file := range sources(t) {
		rel, err := filepath.Rel("../..", file)
		if err != nil {
			t.Fatal(err)
		}
		if n := countStarts(t, file); n > 0 {
			starts[rel] = n
		}
	}
	if len(starts) < 10 {
		t.Fatalf("only %d files start goroutines: the count looks in the wrong place", len(starts))
	}
	for file, n := range starts {
		if rows[file] != n {
			t.Errorf("docs/goroutines.md has %d rows of %s, which starts goroutines in %d places", rows[file], file, n)
		}
	}
	for file, n := range rows {
		if starts[file] == 0 {
			t.Errorf("docs/goroutines.md has %d rows of %s, which starts no goroutine", n, file)
		}
	}
}

// sources are the files that the binary is built of on Linux, ours only.
func sources(t *testing.T) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f",
		`{{if not .Standard}}{{if .Module.Main}}{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`, ".")
	cmd.Env = append(os.Environ(), "GOOS=linux")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, f := range strings.Fields(string(out)) {
		rel, err := filepath.Rel(root, f)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, filepath.Join("../..", rel))
	}
	return files
}

// countStarts counts go statements and calls of Go (of a WaitGroup) and
// AfterFunc.
func countStarts(t *testing.T, file string) int {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(f, func(node ast.Node) bool {
		switch x := node.(type) {
		case *ast.GoStmt:
			n++
		case *ast.CallExpr:
			if sel, ok := x.Fun.(*ast.SelectorExpr); ok && (sel.Sel.Name == "Go" || sel.Sel.Name == "AfterFunc") {
				n++
			}
		}
		return true
	})
	return n
}

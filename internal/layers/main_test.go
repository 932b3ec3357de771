package layers

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// root is the repository, seen from here.
const root = "../.."

// module is the path of ours.
const module = "toolhand"

// modules are the folders of our modules but the one of the linters, which has no code.
var modules = []string{".", "bench"}

// pkg is what `go list` says of a package.
type pkg struct {
	Dir, ImportPath, Name              string
	Imports, TestImports, XTestImports []string
	Module                             *struct {
		Path string
		Main bool
	}
}

// list runs `go list -json` in each of our modules.
func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	var pkgs []pkg
	for _, module := range modules {
		pkgs = append(pkgs, listIn(t, module, args...)...)
	}
	return pkgs
}

func listIn(t *testing.T, module string, args ...string) []pkg {
	t.Helper()
	out := run(t, nil, append([]string{"-C", module, "list", "-json=Dir,ImportPath,Name,Imports,TestImports,XTestImports,Module"}, args...)...)
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	return pkgs
}

// run runs the go command at the root and gives its output.
func run(t *testing.T, env []string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return out
}

// files gives the paths under the root of the files that are ours: no hidden
// folders but those of the CI, nothing that was built.
func files(t *testing.T) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch {
			case rel == "bin", rel == "data", strings.HasPrefix(rel, ".") && rel != "." && rel != ".ci" && !strings.HasPrefix(rel, ".github"):
				return fs.SkipDir
			}
			return nil
		}
		if d.Type().IsRegular() && rel != ".git" { // a file in a second work tree
			paths = append(paths, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// read gives the content of a file under the root.
func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const architecture = "docs/architecture.md"

// TestArchitectureNames: each file that docs/architecture.md names exists, and has the
// function, method or type that stands beside it.
func TestArchitectureNames(t *testing.T) {
	quoted := regexp.MustCompile("`([^`]+)`")
	named := regexp.MustCompile(`^[A-Za-z]\w*(\.[A-Za-z]\w*)?$`)
	found := 0
	for line := range strings.Lines(read(t, architecture)) {
		var names, paths []string
		for _, m := range quoted.FindAllStringSubmatch(line, -1) {
			switch {
			case strings.HasPrefix(m[1], "internal/") || strings.HasPrefix(m[1], "cmd/"):
				paths = append(paths, m[1])
			case named.MatchString(m[1]) && m[1] != "bench" && !strings.HasSuffix(m[1], ".d") && !strings.HasSuffix(m[1], ".yaml"):
				names = append(names, m[1])
			}
		}
		declared := map[string]bool{}
		for _, path := range paths {
			info, err := os.Stat(filepath.Join(root, path))
			if err != nil {
				t.Errorf("%s names %s: %v", architecture, path, err)
				continue
			}
			dir := path
			if !info.IsDir() {
				dir = filepath.Dir(path)
			}
			declarations(t, dir, declared)
		}
		for _, name := range names {
			if found++; len(paths) > 0 && !declared[name] {
				t.Errorf("%s names %s, which is not in %s", architecture, name, strings.Join(paths, ", "))
			}
		}
	}
	if found < 25 {
		t.Errorf("only %d names were found: the test looks in the wrong places", found)
	}
}

// declarations adds the functions, methods and types that a package declares.
func declarations(t *testing.T, dir string, declared map[string]bool) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				name := d.Name.Name
				if d.Recv != nil {
					name = receiver(d) + "." + name
				}
				declared[name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if s, ok := spec.(*ast.TypeSpec); ok {
						declared[s.Name.Name] = true
					}
				}
			}
		}
	}
}

// TestArchitectureHasAllPackages: the map has each package with a rule, and no other.
func TestArchitectureHasAllPackages(t *testing.T) {
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z/]+)` \\|").FindAllStringSubmatch(read(t, architecture), -1) {
		listed[m[1]] = true
	}
	for _, p := range list(t, "./...") {
		rel := strings.TrimPrefix(p.ImportPath, module+"/")
		if strings.HasPrefix(rel, "internal/") && !listed[rel] {
			t.Errorf("%s lacks %s", architecture, rel)
		}
		delete(listed, rel)
	}
	for rel := range listed {
		if !strings.HasPrefix(rel, "bench") {
			t.Errorf("%s has %s, which does not exist", architecture, rel)
		}
	}
}

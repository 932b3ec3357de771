package layers

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"toolhand/internal/testkit"
)

// TestBuildsWithoutCgo: the binary is static. Only a run in full links what it compiles.
func TestBuildsWithoutCgo(t *testing.T) {
	build := []string{"list", "-export", "./..."}
	if testkit.Full() {
		build = []string{"build", "./..."}
	}
	for _, module := range modules {
		run(t, []string{"CGO_ENABLED=0"}, append([]string{"-C", module}, build...)...)
	}
}

// TestCompilesForMacOS: vet compiles the tests too.
func TestCompilesForMacOS(t *testing.T) {
	for _, module := range modules {
		run(t, []string{"CGO_ENABLED=0", "GOOS=darwin", "GOARCH=arm64"}, "-C", module, "vet", "./...")
	}
}

// entry is a line of docs/dependencies.md.
var entry = regexp.MustCompile("(?m)^- `([^`]+)`: (.*)$")

// TestDependenciesAreGrounded: what we import has its reason in the docs, and
// what stands there is still required.
func TestDependenciesAreGrounded(t *testing.T) {
	documented := map[string]bool{}
	for _, m := range entry.FindAllStringSubmatch(read(t, "docs/dependencies.md"), -1) {
		documented[m[1]] = true
		if len(m[2]) < 20 || !strings.HasSuffix(m[2], ".") {
			t.Errorf("docs/dependencies.md: the reason for %s is no sentence: %q", m[1], m[2])
		}
	}
	imported := map[string]string{} // path to who imports it
	for _, p := range list(t, "./...") {
		for _, path := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			imported[path] = p.ImportPath
		}
	}
	for _, p := range list(t, "-deps", "-test", "./...") {
		by, ok := imported[p.ImportPath]
		if ok && p.Module != nil && p.Module.Path != module && !p.Module.Main && !documented[p.Module.Path] {
			t.Errorf("%s imports %s: say in docs/dependencies.md why %s is worth it", by, p.ImportPath, p.Module.Path)
		}
	}
	required := map[string]bool{}
	for _, r := range moduleOf(t, "go.mod").Require {
		required[r.Path] = required[r.Path] || !r.Indirect
	}
	for _, tool := range moduleOf(t, "build/go.mod").Tool {
		by := slices.IndexFunc(keys(documented), func(d string) bool { return strings.HasPrefix(tool.Path, d+"/") })
		if by < 0 {
			t.Errorf("the tool %s has no reason in docs/dependencies.md", tool.Path)
			continue
		}
		required[keys(documented)[by]] = true
	}
	for d := range documented {
		if !required[d] {
			t.Errorf("docs/dependencies.md has %s, which go.mod does not require and build/go.mod has no tool of", d)
		}
	}
}

// TestToolsStandApart: what builds and checks us moves no version of ours.
func TestToolsStandApart(t *testing.T) {
	if tools := moduleOf(t, "go.mod").Tool; len(tools) > 0 {
		t.Errorf("go.mod has the tools %v: put them into build/go.mod", tools)
	}
}

// moduleFile is what `go mod edit -json` says of a go.mod.
type moduleFile struct {
	Require []struct {
		Path     string
		Indirect bool
	}
	Tool []struct{ Path string }
}

func moduleOf(t *testing.T, path string) (m moduleFile) {
	t.Helper()
	if err := json.Unmarshal(run(t, nil, "mod", "edit", "-json", path), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMakeTargets: what the workflows and the pages tell people to make exists.
func TestMakeTargets(t *testing.T) {
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		targets[m[1]] = true
	}
	used := regexp.MustCompile("(?m)(?:`|run: |^)make((?: [a-z-]+)+)")
	found := 0
	for _, path := range files(t) {
		if ext := filepath.Ext(path); ext != ".md" && ext != ".yml" {
			continue
		}
		for _, m := range used.FindAllStringSubmatch(read(t, path), -1) {
			for _, target := range strings.Fields(m[1]) {
				if found++; !targets[target] {
					t.Errorf("%s says `make %s`, which the Makefile does not know", path, target)
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d uses of make were found: the test looks in the wrong places", found)
	}
}

func keys(m map[string]bool) []string { return slices.Sorted(maps.Keys(m)) }

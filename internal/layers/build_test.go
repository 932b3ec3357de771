package layers

import (
	"bufio"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestBuildsWithoutCgo: the binary is static.
func TestBuildsWithoutCgo(t *testing.T) {
	run(t, []string{"CGO_ENABLED=0"}, "go", "build", "./...")
}

// TestCompilesForMacOS: vet compiles the tests too.
func TestCompilesForMacOS(t *testing.T) {
	run(t, []string{"CGO_ENABLED=0", "GOOS=darwin", "GOARCH=arm64"}, "go", "vet", "./...")
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
		if ok && p.Module != nil && !p.Module.Main && !documented[p.Module.Path] {
			t.Errorf("%s imports %s: say in docs/dependencies.md why %s is worth it", by, p.ImportPath, p.Module.Path)
		}
	}
	required := map[string]bool{}
	for line := range strings.Lines(read(t, "go.mod")) {
		scan := bufio.NewScanner(strings.NewReader(line))
		scan.Split(bufio.ScanWords)
		for scan.Scan() {
			required[scan.Text()] = true
		}
		if tool, ok := strings.CutPrefix(line, "tool "); ok && !slices.ContainsFunc(keys(documented), func(d string) bool { return strings.HasPrefix(tool, d) }) {
			t.Errorf("the tool %s has no reason in docs/dependencies.md", strings.TrimSpace(tool))
		}
	}
	for d := range documented {
		if !required[d] {
			t.Errorf("docs/dependencies.md has %s, which go.mod does not require", d)
		}
	}
}

func keys(m map[string]bool) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	return all
}

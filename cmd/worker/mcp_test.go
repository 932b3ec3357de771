package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestMCPExample runs examples/mcp-go with its manifest: as commands show it, and
// beside a worker, before and after a reload. A second server that is away harms
// none of it.
func TestMCPExample(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(root, "examples/mcp-go/units.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	lay(t, dir, map[string]string{
		"worker.yaml":        "admin: {listen: ''}\n",
		"tools.d/units.yaml": string(manifest),
	})
	finish(t, root, os.Environ(), "go", "build", "-o", filepath.Join(dir, "tools.d/units-server"), "./examples/mcp-go")
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"check", "tools.d: 0 tools and 1 group of an MCP server's tools, all well", 0},
		{"check --live", "units_miles       mcp  there", 0},
		{"list", "units_fahrenheit  mcp      10s       8            true        Convert a temperature", 0},
		{"export", `"description": "Convert a distance in kilometres to miles."`, 0},
		{`call units_fahrenheit {"celsius":100}`, "212.0 °F", 0},
		{`call units_fahrenheit {"celsius":-300}`, "ask for a higher one", 1},
		{`call units_fahrenheit {"kelvin":1}`, `Invalid input for tool "units_fahrenheit":`, 1},
		{`call units_none {}`, `unknown tool "units_none"; there are: units_fahrenheit, units_miles`, 2},
	} {
		if out, code := shell(t, dir, append([]string{"tools"}, strings.Fields(c.args)...)...); code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("tools %s: exit code %d, expected %d and %q in\n%s", c.args, code, c.code, c.want, out)
		}
	}
	lay(t, dir, map[string]string{"tools.d/away.yaml": "name: away\nhandler: {mcp: {command: [sh, -c, exit 1], tools: '*', prefix: away_}}\n"})
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"check", "0 tools and 2 groups", 0},
		{"check --live", "away.yaml: the tools of the group \"away\" are not known: the server ended: exit status 1", 1},
		{"list", "units_miles", 1},
		{"export", `the tools of the group "away" are not known`, 1},
		{"call away_x {}", `Tool "away_x" is unavailable: the server ended: exit status 1`, 1},
	} {
		out, code := shell(t, dir, append([]string{"tools"}, strings.Fields(c.args)...)...)
		if code != c.code || !strings.Contains(out, c.want) || c.args == "export" && strings.Contains(out, "input_schema") {
			t.Errorf("tools %s: exit code %d, expected %d and %q in\n%s", c.args, code, c.code, c.want, out)
		}
	}
	session, url := simulated(t, "sesn_mcp")
	r, err := launch(dir, filepath.Join(dir, "run.log"), workerEnv(dir, "ANTHROPIC_API_KEY=any", "ANTHROPIC_BASE_URL="+url), "run", "--session", "sesn_mcp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.kill)
	served := func(tool, input, want string) {
		t.Helper()
		if got := answered(t, session, tool, input); !strings.Contains(got, want) {
			t.Errorf("%s: %q, expected %q", tool, got, want)
		}
	}
	served("units_miles", `{"kilometres":42.195}`, "26.22 mi")
	served("away_thing", `{}`, `Tool "away_thing" is unavailable: the server ended: exit status 1`)
	served("other", `{}`, "Unknown tool: other")
	lay(t, dir, map[string]string{"tools.d/units.yaml": strings.Replace(string(manifest), "prefix: units_", "prefix: u_", 1)})
	if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if _, err := r.until(regexp.MustCompile("the tools were reloaded")); err != nil {
		t.Fatal(err)
	}
	served("u_miles", `{"kilometres":1.609344}`, "1.00 mi")
	served("units_miles", `{}`, "Unknown tool: units_miles")
}

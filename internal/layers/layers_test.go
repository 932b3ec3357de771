package layers

import (
	"slices"
	"strings"
	"testing"
)

// rule says which of our packages a package may import outside its tests, and
// why no other.
type rule struct {
	knows  []string
	reason string
}

// handlers stands in a rule for all packages below internal/tools.
const handlers = "tools/*"

// rules has a line for each package under internal, internal/loop and internal/tools, for
// cmd/worker and for the module bench; other subpackages go by the rule of what they are below.
var rules = map[string]rule{
	"cmd/worker": {[]string{"worker", "sim", "config", "telemetry", "document", "registry", "loop/run", "tools", "tools/proctree", "journal", "bus", "admin", "upstream"},
		"it is flags, signals, what is printed and exit codes; what is opened is the assembly's"},
	"worker": {[]string{"fleet", "serve", "discovery", "loop", "loop/run", "loop/slots", "loop/circuit", "registry", "config", "document", "tools", handlers, "upstream", "journal", "bus", "admin", "telemetry"},
		"it puts the parts together; what they do is theirs"},
	"loop": {[]string{"loop/run", "loop/slots", "loop/circuit", "upstream", "registry", "journal", "tools", "tools/content"},
		"it serves one session; which sessions, and how the process is set up, is decided above it"},
	"loop/run":          {[]string{"loop/slots", "loop/circuit", "registry", "schema", "journal", "tools", "tools/content"}, "it runs one call, whoever made it: it has no session, no event and no API"},
	"loop/slots":        {nil, "it counts what runs, whatever that is"},
	"loop/circuit":      {nil, "it knows tools by their names alone"},
	"fleet":             {[]string{"loop", "upstream"}, "it decides which sessions are served; what a session does with its tools is loop's"},
	"serve":             {[]string{"loop/run", "registry", "tools", "tools/content", "tools/natswire", "tools/queue"}, "it runs single calls for others; it has no session, no API and no journal"},
	"registry":          {[]string{"schema", "document", "tools", handlers}, "the set of tools is the same whoever calls them: demo, check and run"},
	"discovery":         {[]string{"registry"}, "it asks services what they announce; what is made of it is the registry's"},
	"tools":             {nil, "a handler knows its call and nothing of sessions, so that it can be run alone"},
	"tools/content":     {[]string{"tools"}, "it bounds what handlers answer, whatever their kind"},
	"tools/proctree":    {nil, "it knows processes and their marks, and no calls"},
	"tools/natswire":    {[]string{"tools", "tools/content"}, "it writes and reads messages, and sends none"},
	"tools/exec":        {[]string{"tools", "tools/content", "tools/proctree"}, "a handler knows no other but what it is built on"},
	"tools/http":        {[]string{"tools", "tools/content"}, "a handler knows no other but what it is built on"},
	"tools/nats":        {[]string{"tools", "tools/content", "tools/natswire"}, "a handler knows no other but what it is built on"},
	"tools/queue":       {[]string{"tools", "tools/content", "tools/natswire", "tools/nats"}, "a handler knows no other but what it is built on; its configuration is that of nats"},
	"tools/mcp":         {[]string{"tools", "tools/content", "tools/proctree", "tools/exec", "tools/http"}, "a handler knows no other but what it is built on: servers are programs or URLs"},
	"tools/handlertest": {[]string{"testkit", "tools", "tools/content", "tools/exec", "tools/proctree"}, "it judges a handler by what it does"},
	"upstream":          {nil, "it speaks the API; what an event means for a call is loop's"},
	"journal":           {nil, "it keeps entries; what they mean is loop's"},
	"bus":               {[]string{"tools/natswire"}, "it makes the connection that others are given"},
	"admin":             {nil, "it shows what the assembly registers, and must work when any other part does not"},
	"telemetry":         {nil, "everything logs, so it can depend on nothing"},
	"config":            {[]string{"schema", "document"}, "it is read before anything else is there"},
	"schema":            {[]string{"document"}, "it judges values, whatever they are for"},
	"document":          {nil, "it reads what people write; what that means is said above it"},
	"sim":               {[]string{"schema", "document"}, "a fake that shares code with what it judges would share its faults; reading a script is no part of the API that it fakes"},
	"apispec":           {nil, "it judges what we send by the official document, for tests only"},
	"layers":            {nil, "it only looks"},
	"testkit":           {nil, "every test may use it"},
	"mutants":           {nil, "it changes texts, and runs the tests of others"},
	"bench":             {[]string{"worker", "registry", "tools", "tools/content", "config", "telemetry", "sim"}, "it measures the worker that ships, opened by the same assembly"},
}

func (r rule) allows(to string) bool {
	return slices.Contains(r.knows, to) || strings.HasPrefix(to, "tools/") && slices.Contains(r.knows, handlers)
}

// words are no names of packages: they say nothing of what is in them.
var words = []string{"util", "utils", "common", "helper", "helpers", "types", "models", "misc", "shared", "base"}

func TestLayers(t *testing.T) {
	for _, p := range list(t, "./...") {
		if slices.Contains(words, p.Name) {
			t.Errorf("package %s: the name %s says nothing of what it is for", p.ImportPath, p.Name)
		}
		from, ok := room(p.ImportPath)
		if !ok {
			// The module's own package embeds tools.d, which only a package
			// beside it can.
			if p.ImportPath == module && slices.ContainsFunc(p.Imports, isOurs) {
				t.Errorf("package %s imports another of ours, and must not: it holds files and no code of the worker", module)
			}
			example := strings.HasPrefix(p.ImportPath, module+"/examples/")
			if example && slices.ContainsFunc(p.Imports, isOurs) {
				t.Errorf("package %s imports another of ours, and must not: people copy it", p.ImportPath)
			}
			if p.ImportPath != module && !example {
				t.Errorf("package %s is in none of cmd, examples, internal and bench", p.ImportPath)
			}
			if slices.Contains(p.Imports, module+"/internal/apispec") {
				t.Errorf("%s imports apispec, which is for tests: it pulls the testing package into the binary", p.ImportPath)
			}
			continue
		}
		r, ok := rules[from]
		if !ok {
			t.Errorf("package %s has no rule: say in layers_test.go whom it may know, and why", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			to, ours := room(imported)
			embedded := from == "cmd/worker" && imported == module
			if isOurs(imported) && !ours && !embedded || ours && to != from && !r.allows(to) {
				t.Errorf("%s imports %s, and must not: %s", p.ImportPath, imported, r.reason)
			}
		}
	}
}

// TestRulesRunDownwards finds a circle in the table itself.
func TestRulesRunDownwards(t *testing.T) {
	var visit func(name string, path []string)
	visit = func(name string, path []string) {
		if slices.Contains(path, name) {
			t.Errorf("the rules have a circle: %v", append(path, name))
			return
		}
		rooms := slices.Clone(path)
		for i := range rooms {
			rooms[i], _, _ = strings.Cut(rooms[i], "/")
		}
		if len(slices.Compact(rooms)) > 7 {
			t.Errorf("the chain of imports is longer than eight: %v", append(path, name))
		}
		for _, to := range rules[name].knows {
			if to == handlers {
				continue // their own rules say what is below them
			}
			if _, ok := rules[to]; !ok {
				t.Errorf("%s may know %s, which has no rule", name, to)
			}
			visit(to, append(slices.Clone(path), name))
		}
	}
	for name := range rules {
		visit(name, nil)
	}
}

func isOurs(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

// room gives what a path has its rule by: the first element under internal,
// internal/loop or internal/tools, or else bench or the path of a command.
func room(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, module+"/")
	if strings.HasPrefix(rest, "cmd/") {
		return rest, ok
	}
	if rest, under := strings.CutPrefix(rest, "internal/"); under {
		name, below, _ := strings.Cut(rest, "/")
		if (name == "tools" || name == "loop") && below != "" {
			part, _, _ := strings.Cut(below, "/")
			name += "/" + part
		}
		return name, ok
	}
	name, _, _ := strings.Cut(rest, "/")
	return name, ok && name == "bench"
}

package registry

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"toolhand/internal/document"
	"toolhand/internal/tools"
	toolhttp "toolhand/internal/tools/http"
	toolmcp "toolhand/internal/tools/mcp"
)

// TestManifestSchemaIsOne judges the schema by its metaschema.
func TestManifestSchemaIsOne(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal(ManifestSchema(), &doc); err != nil {
		t.Fatal(err)
	}
	const draft = "https://json-schema.org/draft/2020-12/schema"
	if err := jsonschema.MustCompile(draft).Validate(doc); err != nil {
		t.Errorf("%#v", err)
	}
	if doc["$schema"] != draft || doc["$id"] != "urn:toolhand:tool.yaml" || doc["description"] == nil {
		t.Errorf("$schema %v, $id %v, description %v", doc["$schema"], doc["$id"], doc["description"])
	}
	clear(ManifestSchema())
	if !json.Valid(ManifestSchema()) {
		t.Error("a caller has changed the schema")
	}
}

// bases are manifests with every key at least once, for each kind of handler.
var bases = map[string]string{
	"exec": `{"name": "a", "description": "d", "input_schema": {"type": "object"}, "deadline": "2m", "concurrency": 1, "idempotent": true, "max_result_bytes": 10, "assert_formats": true,
		"retry": {"attempts": 2, "backoff": "1s"}, "rate": "10/s", "handler": {"exec": {"command": ["x"], "dir": ".", "env": {"A": "b"}, "pass_env": ["C"], "user": ""}}}`,
	"http":  `{"name": "a", "description": "d", "input_schema": {"type": "object"}, "handler": {"http": {"url": "http://h", "headers": {"A": "b"}, "header_env": {"C": "D"}}}}`,
	"nats":  `{"name": "a", "description": "d", "input_schema": {"type": "object"}, "handler": {"nats": {"subject": "x.y", "queue": false}}}`,
	"mcp":   `{"name": "a", "description": "d", "input_schema": {"type": "object"}, "handler": {"mcp": {"command": ["x"], "dir": ".", "env": {"A": "b"}, "pass_env": ["C"], "user": "", "url": "", "tool": "t"}}}`,
	"group": `{"name": "a", "handler": {"mcp": {"url": "http://h", "headers": {"A": "b"}, "header_env": {"C": "D"}, "tools": ["t"], "prefix": "p_"}}}`,
	"file":  `{"name": "a", "description": "d", "input_schema_file": "s.json", "handler": {"nats": {}}}`,
}

// about has the beginnings of the keys that are changed in each of them.
var about = map[string][]string{
	"exec":  {"name", "description", "input_schema", "deadline", "concurrency", "idempotent", "assert_formats", "max_result_bytes", "retry", "rate", "handler.exec"},
	"http":  {"handler.http"},
	"nats":  {"handler.nats"},
	"mcp":   {"handler.mcp"},
	"group": {"name", "description", "input_schema", "handler.mcp"},
	"file":  {"name", "description", "input_schema", "handler"},
}

// manifestValues are written at every key in turn.
var manifestValues = []string{
	`null`, `true`, `false`, `0`, `1`, `-1`, `1.5`, `1.0`, `1e2`, `100`, `101`, `1000000`, `1000001`, `8388608`, `8388609`, `99999999999999999999`,
	`""`, `" "`, `"\u00a0\u2003"`, `"\u000b"`, `"x"`, `"a b"`, `"a.b"`, `"a\nb"`, `"a\u0000b"`, `"é"`, `"*"`, `"**"`, `"` + strings.Repeat("n", 100) + `"`, `"` + strings.Repeat("n", 128) + `"`,
	`"` + strings.Repeat("n", 129) + `"`, `"` + strings.Repeat("é", 1024) + `"`, `"` + strings.Repeat("é", 1025) + `"`,
	`"120"`, `"0"`, `"0s"`, `"-5s"`, `"+5s"`, `"2 minutes"`, `"1h30m"`, `".5s"`, `"1.s"`, `".s"`, `"1µs"`, `"0.1ns"`, `"0s1ns"`, `"9999999h"`, `"1d"`,
	`"10/s"`, `"1.5/m"`, `"0/s"`, `"0.0/h"`, `"0.5/h"`, `"1000000/h"`, `"1000000.0/h"`, `"1000000.1/h"`, `"1000001/h"`, `"0001000000/h"`, `"10/d"`, `"10"`, `"-1/s"`, `"1e2/s"`, `" 10/s"`, `"10/s\n"`,
	`"http://h"`, `"HTTPS://u:p@h/a?b#c"`, `"http://:80"`, `"http:///a"`, `"http:h"`, `"ftp://h"`, `"s.json"`, `"none.json"`, `"../s.json"`,
	`"x.y"`, `"x..y"`, `".x"`, `"x.*"`, `"x.>"`, `"$x"`, `"_x"`, `"x._y"`, `"toolhand.x"`, `"toolhand.tool.x"`, `"x\u007f"`,
	`[]`, `["x"]`, `["x","y"]`, `["x","x"]`, `[""]`, `["",""]`, `["x",""]`, `["x",5]`, `[null]`, `[["x"]]`, `["a b"]`, `["ANTHROPIC_API_KEY"]`, `["A=B"]`, `["` + strings.Repeat("n", 127) + `"]`,
	`{}`, `{"a":"b"}`, `{"a":1}`, `{"a":null}`, `{"":"b"}`, `{"a b":"c"}`, `{"A=B":"c"}`, `{"ANTHROPIC_API_KEY":"c"}`, `{"anthropic-x":"c"}`, `{"X-A":"ANTHROPIC_API_KEY"}`, `{"a":"x\u0000"}`,
	`{"a":"x\n"}`, `{"Tool-Name":"x"}`, `{"A":"b"}`, `{"C":"D"}`, `{"type":"object"}`, `{"type":"string"}`, `{"type":["object"]}`, `{"type":"object","properties":5}`, `{"attempts":1}`,
	`{"exec":{"command":["x"]},"nats":{}}`, `{"nats":{}}`, `{"nats":null}`, `{"mcp":{"command":["x"],"tools":"*"}}`,
}

// beyondManifest names what the schema takes and the program refuses, each with
// its reason. Nothing else may differ.
var beyondManifest = []struct {
	why  string
	fits func(key, value string) bool
}{
	{"a duration is at least a nanosecond and at most 292 years", func(_, v string) bool { return v == `"0.1ns"` || v == `"9999999h"` }},
	{"an input_schema is a JSON Schema", func(k, v string) bool {
		return k == "input_schema" && v == `{"type":"object","properties":5}`
	}},
	{"an input_schema_file is there", func(k, v string) bool { return k == "input_schema_file" && v != `"s.json"` }},
	{"a URL's host", func(k, v string) bool { return k == "handler.http.url" && v == `"http://:80"` }},
	{"a subject is at most 1024 bytes", func(k, v string) bool {
		return k == "handler.nats.subject" && v == `"`+strings.Repeat("é", 1024)+`"`
	}},
	{"a header's value has no line end, some are the worker's own, none is given twice", func(k, v string) bool {
		return strings.HasPrefix(k, "handler.http.header") && slices.Contains([]string{`{"a":"x\n"}`, `{"Tool-Name":"x"}`, `{"C":"D"}`, `{"A":"b"}`, `{"a":"b"}`}, v)
	}},
	{"below toolhand only toolhand.tool is a tool's subject", func(k, v string) bool {
		return k == "handler.nats.subject" && v == `"toolhand.x"`
	}},
	{"a name with its prefix is at most 128 characters", func(k, v string) bool {
		return k == "handler.mcp.tools" && len(v) > 128
	}},
}

// noServer is mcp without servers.
func noServer() handlerKind {
	return kindOf("mcp", func(toolmcp.Config, tools.Common) (tools.Handler, error) { return &echo{}, nil })
}

// library is the schema as any validator has it.
var library = sync.OnceValue(func() *jsonschema.Schema {
	return jsonschema.MustCompileString("tool.schema.json", string(ManifestSchema()))
})

// judged has what the program and the schema say of a manifest.
func judged(t *testing.T, doc []byte, dir string) (program, form error) {
	t.Helper()
	opts := Options{format: recorded().with(kindOf("http", toolhttp.New), noServer()), LookupEnv: func(string) (string, bool) { return "x", true }}
	opts.format.group = func(toolmcp.Config, tools.Common, *toolmcp.Servers) (*toolmcp.Group, error) { return nil, nil }
	opts.applyDefaults()
	m := &manifestFile{Problems: &document.Problems{File: "a.yaml"}, opts: &opts, dir: dir}
	if tool, group := m.read(doc); tool == nil && group == nil && len(m.List) == 0 {
		t.Errorf("%s: neither a tool nor an error", doc)
	}
	var value any
	if err := json.Unmarshal(doc, &value); err != nil {
		t.Fatal(err)
	}
	return m.Err(), library().Validate(value)
}

// mutated is the document with the value at the key, which may be a new one; a nil
// value takes the key out.
func mutated(doc any, key string, value any) any {
	if key == "" {
		return value
	}
	name, rest, _ := strings.Cut(key, ".")
	out := map[string]any{}
	old, _ := doc.(map[string]any)
	for k, v := range old {
		out[k] = v
	}
	if value == nil && rest == "" {
		delete(out, name)
	} else {
		out[name] = mutated(out[name], rest, value)
	}
	return out
}

// partOf is the part of the manifest's schema for a key, as it stands there.
func partOf(t *testing.T, key string) *document.Node {
	t.Helper()
	ps := &document.Problems{}
	part := document.ParseJSON(ps, ManifestSchema())
	for name := range strings.SplitSeq(key, ".") {
		if name != "" {
			part = part.Get("properties").Get(name)
		}
	}
	if part == nil || ps.Err() != nil {
		t.Fatalf("no key %s: %v", key, ps.Err())
	}
	return part
}

// keysAt has the keys of a mapping of a manifest.
func keysAt(t *testing.T, where string) (keys []string) {
	if properties := partOf(t, where).Get("properties"); properties != nil {
		for _, k := range properties.Keys {
			keys = append(keys, k.Text)
		}
	}
	return keys
}

// manifestKeys are all keys of the schema.
func manifestKeys(t *testing.T, where string) []string {
	var all []string
	for _, name := range keysAt(t, where) {
		key := strings.TrimPrefix(where+"."+name, ".")
		all = append(all, key)
		if key != "input_schema" {
			all = append(all, manifestKeys(t, key)...)
		}
	}
	return all
}

// TestManifestSchemaAgrees: what the schema refuses the program refuses, and the
// other way round but for what is named.
func TestManifestSchemaAgrees(t *testing.T) {
	dir := write(t, map[string]string{"s.json": `{"type": "object"}`})
	used, taken, refused := map[string]int{}, 0, 0
	judge := func(key, value string, doc any) {
		data, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		program, library := judged(t, data, dir)
		if library != nil {
			refused++
		} else if program == nil {
			taken++
		}
		if (program == nil) == (library == nil) {
			return
		}
		for _, b := range beyondManifest {
			if library == nil && b.fits(key, value) {
				used[b.why]++
				return
			}
		}
		t.Errorf("%s: the program says %v, the schema %v", data, program, library)
	}
	keys, met := manifestKeys(t, ""), map[string]bool{}
	for kind, text := range bases {
		var base any
		if err := json.Unmarshal([]byte(text), &base); err != nil {
			t.Fatal(err)
		}
		judge("", "base", base)
		for _, key := range keys {
			if !slices.ContainsFunc(about[kind], func(p string) bool { return strings.HasPrefix(key, p) }) {
				continue
			}
			met[key] = true
			for _, value := range manifestValues {
				judge(key, value, mutated(base, key, json.RawMessage(value)))
			}
			judge(key, "", mutated(base, key, nil))
			if len(keysAt(t, key)) > 0 && key != "input_schema" {
				judge(key, "", mutated(base, key+".zzz", 1))
			}
		}
		for _, value := range manifestValues {
			judge("", value, json.RawMessage(value))
		}
		judge("", "", mutated(base, "zzz", 1))
	}
	if len(met) != len(keys) {
		t.Errorf("%d of %d keys are looked at", len(met), len(keys))
	}
	for _, b := range beyondManifest[:len(beyondManifest)-1] {
		if used[b.why] == 0 {
			t.Errorf("nothing differs because %s", b.why)
		}
	}
	if taken < 300 || refused < 3000 {
		t.Errorf("%d manifests taken and %d refused: too few to say anything", taken, refused)
	}
}

// TestManifestDefaults: the schema tells the defaults that a manifest gets.
func TestManifestDefaults(t *testing.T) {
	set, err := Load(Options{Dir: write(t, map[string]string{"a.yaml": manifestOf("a")}), format: recorded()})
	if err != nil {
		t.Fatal(err)
	}
	tool, _ := set.Lookup("a")
	for key, got := range map[string]any{
		"deadline": tool.DeadlineText, "concurrency": tool.Concurrency, "idempotent": tool.Idempotent, "max_result_bytes": tool.MaxResultBytes, "assert_formats": tool.AssertFormats,
	} {
		if want := partOf(t, key).Get("default").Text; fmt.Sprint(got) != want {
			t.Errorf("%s: the schema says %v, a manifest gets %v", key, want, got)
		}
	}
	if d, err := time.ParseDuration(tool.DeadlineText); err != nil || d != tool.Deadline {
		t.Errorf("deadline %v, %s", tool.Deadline, tool.DeadlineText)
	}
	for _, key := range manifestKeys(t, "") {
		if partOf(t, key).Get("description") == nil {
			t.Errorf("%s has no description", key)
		}
	}
}

// TestManifestKeysOfConfigs: what a handler is made with can be written down.
func TestManifestKeysOfConfigs(t *testing.T) {
	for _, kind := range kinds() {
		var fields []string
		for f := range reflect.TypeOf(kind.config()).Elem().Fields() {
			if key := f.Tag.Get("yaml"); key != "-" {
				fields = append(fields, key)
			}
		}
		keys := keysAt(t, "handler."+kind.name)
		if kind.name == "mcp" { // [manifestFile.config] reads it
			keys = slices.DeleteFunc(keys, func(key string) bool { return key == "tools" })
		}
		if !slices.Equal(keys, fields) {
			t.Errorf("handler.%s has the keys %v, its config %v", kind.name, keys, fields)
		}
	}
}

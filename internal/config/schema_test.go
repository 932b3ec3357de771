package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"toolhand/internal/document"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// TestSchemaIsOne judges the schema by its metaschema.
func TestSchemaIsOne(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal(Schema(), &doc); err != nil {
		t.Fatal(err)
	}
	const draft = "https://json-schema.org/draft/2020-12/schema"
	if err := jsonschema.MustCompile(draft).Validate(doc); err != nil {
		t.Errorf("%#v", err)
	}
	if doc["$schema"] != draft || doc["$id"] != "urn:toolhand:worker.yaml" || doc["description"] == nil {
		t.Errorf("$schema %v, $id %v, description %v", doc["$schema"], doc["$id"], doc["description"])
	}
}

// formAt is the part of the schema for a key, as it stands there.
func formAt(t *testing.T, key string) *document.Node {
	t.Helper()
	part := document.ParseJSON(&document.Problems{}, Schema())
	for name := range strings.SplitSeq(key, ".") {
		if part = part.Get("properties").Get(name); part == nil {
			t.Fatalf("no key %s", key)
		}
	}
	return part
}

// eachKey calls visit with each key of the schema, its part, and its field of v.
func eachKey(t *testing.T, part *document.Node, v reflect.Value, prefix string, visit func(key string, part *document.Node, v reflect.Value)) {
	properties := part.Get("properties")
	for i, k := range properties.Keys {
		field := reflect.Value{}
		for f, value := range v.Fields() {
			if f.Tag.Get("yaml") == k.Text {
				field = value
			}
		}
		key := strings.TrimPrefix(prefix+"."+k.Text, ".")
		if !field.IsValid() {
			t.Fatalf("no field for %s", key)
		}
		visit(key, properties.Items[i], field)
		if properties.Items[i].Get("properties") != nil {
			eachKey(t, properties.Items[i], field, key, visit)
		}
	}
}

// TestSchemaIsConfig: every key has its field and every field its key, with a
// description, and with the default that Default has.
func TestSchemaIsConfig(t *testing.T) {
	top := document.ParseJSON(&document.Problems{}, Schema())
	keys, fields := 0, 0
	eachKey(t, top, reflect.ValueOf(Default()), "", func(key string, part *document.Node, v reflect.Value) {
		if part.Get("description") == nil {
			t.Errorf("%s has no description", key)
		}
		if properties := part.Get("properties"); properties != nil {
			keys += len(properties.Keys)
			fields += v.NumField()
			if part.Get("additionalProperties").Text != "false" {
				t.Errorf("%s takes keys that are not known", key)
			}
			return
		}
		want, said := v.Interface(), part.Get("default").Value()
		switch d := want.(type) {
		case Duration:
			want = d.Std().String()
			std, err := time.ParseDuration(fmt.Sprint(said))
			said = std.String()
			if err != nil {
				t.Errorf("%s: %v", key, err)
			}
		case []string:
			want = "[]"
		case ToolsDiscover:
			want = d.All
		}
		if fmt.Sprint(said) != fmt.Sprint(want) {
			t.Errorf("%s has the default %v in the schema and %v in Default", key, said, want)
		}
	})
	if keys == 0 || keys != fields {
		t.Errorf("%d keys and %d fields in the sections", keys, fields)
	}
	if n := reflect.TypeFor[Config]().NumField(); len(top.Get("properties").Keys) != n {
		t.Errorf("%d sections, %d fields", len(top.Get("properties").Keys), n)
	}
}

// values are written at every key in turn, as JSON, which is YAML too.
var values = []string{
	`null`, `true`, `false`, `0`, `1`, `5`, `6`, `-1`, `1.5`, `1.0`, `0.0`, `1000000`, `99999999999999999999`, `[]`, `{}`, `{"a":1}`,
	`["a"]`, `["a","b"]`, `["a","a"]`, `["a b"]`, `[1]`, `[null]`, `[[]]`, `[""]`, `""`, `"x"`, `"a b"`, `"\n"`, `"é"`, `"tools.d"`, `"0x10"`,
	`"0"`, `"-0"`, `"5"`, `"0s"`, `"-0s"`, `"90s"`, `"-1s"`, `"+1s"`, `"1.5h"`, `".5s"`, `"1.s"`, `".s"`, `"s"`, `"1h30m5s"`, `"1d"`, `"1 s"`, `" 1s"`, `"1s\n"`, `"1S"`,
	`"1µs"`, `"1μs"`, `"1ns"`, `"0.1ns"`, `"-0.1ns"`, `"0h0m0.0s"`, `"0h1ns"`, `"9999999h"`, `"1e3s"`, `"--1s"`,
	`"turn"`, `"Turn"`, `"eager"`, `"error"`, `"ignore"`, `"always"`, `"interval"`, `"debug"`, `"info"`, `"warn"`, `"auto"`, `"tint"`, `"text"`, `"json"`, `"on"`,
	`"127.0.0.1:0"`, `"localhost:80"`, `"[::1]:80"`, `"::1:80"`, `":80"`, `"0.0.0.0:80"`, `"127.0.0.1:99999"`, `"127.0.0.1:http"`, `"127.0.0.1"`, `"127.0.0.1:"`,
	`"http://h"`, `"HTTPS://h/a/b@c"`, `"http://u:p@h"`, `"http://h?q"`, `"http://h/#f"`, `"http:///a"`, `"http://:80"`, `"http://h:x"`, `"http:h"`, `"ftp://h"`, `"http://h/%zz"`,
	`"nats://h"`, `"nats://a,tls://b:1"`, `"nats://a,,"`, `"nats://"`, `"nats"`, `"/"`, `"/a/b"`, `"/a?b"`, `"//h"`, `"/%2f"`, `"a/b"`, `"sk-ant-x"`,
	`"` + strings.Repeat("n", 128) + `"`, `"` + strings.Repeat("n", 129) + `"`, `["` + strings.Repeat("n", 129) + `"]`,
}

// beyond names what the schema takes and the program refuses, each with its
// reason. Nothing else may differ.
var beyond = []struct {
	why  string
	fits func(key, value string) bool
}{
	{"a number has at most 64 bits", func(_, v string) bool { return v == `99999999999999999999` }},
	{"a duration is at least a nanosecond and at most 292 years", func(_, v string) bool {
		return v == `"0.1ns"` || v == `"9999999h"`
	}},
	{"an address that others reach needs a token", func(k, v string) bool {
		return (k == "admin.listen" || k == "nats.listen") && (v == `":80"` || v == `"0.0.0.0:80"`)
	}},
	{"a port is at most 65535", func(k, v string) bool {
		return strings.HasSuffix(k, ".listen") && v == `"127.0.0.1:99999"`
	}},
	{"a URL's host, port and escapes", func(k, v string) bool {
		return strings.HasSuffix(k, "_url") && slices.Contains([]string{`"http://:80"`, `"http://h:x"`, `"http://h/%zz"`}, v) ||
			k == "nats.url" && strings.Contains(v, `:/`) ||
			k == "sessions.webhook.path" && slices.Contains([]string{`"/a?b"`, `"//h"`, `"/%2f"`}, v)
	}},
	{"a certificate without its key, or a key alone", func(k, v string) bool {
		return (strings.HasSuffix(k, ".tls_cert_file") || strings.HasSuffix(k, ".tls_key_file")) && v != `""`
	}},
	{"a key in place of the path of its file", func(_, v string) bool { return v == `"sk-ant-x"` }},
}

// at is a document with value at key, and nothing else.
func at(key, value string) string {
	for _, name := range slices.Backward(strings.Split(key, ".")) {
		value = fmt.Sprintf("{%q: %s}", name, value)
	}
	return value
}

// library is the schema as any validator has it.
var library = sync.OnceValue(func() *jsonschema.Schema {
	return jsonschema.MustCompileString("worker.schema.json", string(Schema()))
})

// agree says whether the program and the schema take the document, both of them.
func agree(t *testing.T, doc string) (program, form error) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader([]byte(doc)))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	cfg := Default()
	return parse("worker.yaml", []byte(doc), &cfg), library().Validate(value)
}

// TestSchemaAgrees: what the schema refuses the program refuses, and the other
// way round but for what is named.
func TestSchemaAgrees(t *testing.T) {
	used, taken, refused := map[string]int{}, 0, 0
	judge := func(key, value, doc string) {
		program, library := agree(t, doc)
		if library != nil {
			refused++
		} else if program == nil {
			taken++
		}
		if (program == nil) == (library == nil) {
			return
		}
		for _, b := range beyond {
			if library == nil && b.fits(key, value) {
				used[b.why]++
				return
			}
		}
		t.Errorf("%s: the program says %v, the schema %v", doc, program, library)
	}
	keys := []string{}
	eachKey(t, document.ParseJSON(&document.Problems{}, Schema()), reflect.ValueOf(Default()), "", func(key string, part *document.Node, _ reflect.Value) {
		keys = append(keys, key)
		if properties := part.Get("properties"); properties != nil {
			judge(key, "", at(key+".zzz", "1"))
			judge(key, "", at(key+"."+strings.ToUpper(properties.Keys[0].Text), "null"))
		}
	})
	for _, key := range keys {
		for _, value := range values {
			judge(key, value, at(key, value))
		}
	}
	for _, value := range values {
		judge("", value, value)
	}
	judge("", "", `{"zzz": {}}`)
	judge("", "", `{"nats": {"url": "nats://h", "listen": "127.0.0.1:1"}}`)
	judge("", "", `{"nats": {"url": "nats://h", "listen": ""}, "admin": {"listen": ":1", "token_file": "t"}}`)
	for _, b := range beyond {
		if used[b.why] == 0 {
			t.Errorf("nothing differs because %s", b.why)
		}
	}
	if taken < 300 || refused < 3000 {
		t.Errorf("%d documents taken and %d refused: too few to say anything", taken, refused)
	}
}

// TestDocumentedFileFitsTheSchema: the schema takes what the documentation has.
func TestDocumentedFileFitsTheSchema(t *testing.T) {
	doc := `{"upstream": {"base_url": "https://api.anthropic.com", "requests_per_minute": 600, "reconcile_interval": "5m"},
		"sessions": {"ids": [], "discover": {"agent_ids": null}, "webhook": null}, "tools": {"discover": ["a"]}, "nats": {"listen": "127.0.0.1:4222"}}`
	if program, library := agree(t, doc); program != nil || library != nil {
		t.Errorf("the program says %v, the schema %v", program, library)
	}
}

// TestSchemaIsTheCallersOwn: what a caller does to the schema stays with the
// caller.
func TestSchemaIsTheCallersOwn(t *testing.T) {
	clear(Schema())
	if !json.Valid(Schema()) {
		t.Error("another caller has changed the schema")
	}
}

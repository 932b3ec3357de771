package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

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
	if doc["$schema"] != draft || doc["$id"] != "urn:toolhand:worker.yaml" || doc["title"] == nil {
		t.Errorf("$schema %v, $id %v, title %v", doc["$schema"], doc["$id"], doc["title"])
	}
}

// eachKey calls visit with each key of the schema, its part as it refers and
// as it is, and its field of c.
func eachKey(part *jsonschema.Schema, v reflect.Value, prefix string, visit func(key string, as, is *jsonschema.Schema, v reflect.Value)) {
	for _, name := range keysOf(v.Type(), part) {
		as, key := part.Properties[name], join(prefix, name)
		is, field := resolve(as), fieldOf(v, name)
		visit(key, as, is, field)
		if takes(is, "object") {
			eachKey(is, field, key, visit)
		}
	}
}

// TestSchemaIsConfig: every key has its field and every field its key, with a
// description, and with the default that Default has.
func TestSchemaIsConfig(t *testing.T) {
	keys, fields := 0, 0
	eachKey(schema(), reflect.ValueOf(Default()), "", func(key string, as, is *jsonschema.Schema, v reflect.Value) {
		keys += len(is.Properties)
		if as.Description == "" {
			t.Errorf("%s has no description", key)
		}
		if takes(is, "object") {
			fields += v.NumField()
			if is.AdditionalProperties != false {
				t.Errorf("%s takes keys that are not known", key)
			}
			return
		}
		want := v.Interface()
		switch d := want.(type) {
		case Duration:
			want = d.Std().String()
			if text, ok := as.Default.(string); ok {
				std, err := time.ParseDuration(text)
				as.Default = fmt.Sprint(std)
				if err != nil {
					t.Errorf("%s: %v", key, err)
				}
			}
		case []string:
			want = "[]"
		case ToolsDiscover:
			want = d.All
		}
		if fmt.Sprint(as.Default) != fmt.Sprint(want) {
			t.Errorf("%s has the default %v in the schema and %v in Default", key, as.Default, want)
		}
	})
	if keys == 0 || keys != fields {
		t.Errorf("%d keys and %d fields in the sections", keys, fields)
	}
	if n := reflect.TypeFor[Config]().NumField(); len(schema().Properties) != n {
		t.Errorf("%d sections, %d fields", len(schema().Properties), n)
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
	{"a number is written as YAML's whole numbers are, within 64 bits", func(_, v string) bool {
		return slices.Contains([]string{`1.0`, `0.0`, `99999999999999999999`}, v)
	}},
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
	{"a key in place of the path of its file", func(k, v string) bool { return k == "upstream.api_key_file" && v == `"sk-ant-x"` }},
}

// at is a document with value at key, and nothing else.
func at(key, value string) string {
	for _, name := range slices.Backward(strings.Split(key, ".")) {
		value = fmt.Sprintf("{%q: %s}", name, value)
	}
	return value
}

// agree says whether the program and the schema take the document, both of them.
func agree(t *testing.T, doc string) (program, library error) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader([]byte(doc)))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	cfg := Default()
	return parse("worker.yaml", []byte(doc), &cfg), schema().Validate(value)
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
		if library != nil && value == `99999999999999999999` {
			return // YAML's parser takes a number beyond 64 bits for text
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
	eachKey(schema(), reflect.ValueOf(Default()), "", func(key string, _, is *jsonschema.Schema, _ reflect.Value) {
		keys = append(keys, key)
		if takes(is, "object") {
			judge(key, "", at(key+".zzz", "1"))
			judge(key, "", at(key+"."+strings.ToUpper(slices.Sorted(maps.Keys(is.Properties))[0]), "null"))
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

// TestRefusals has what only the schema finds.
func TestRefusals(t *testing.T) {
	for doc, want := range map[string]string{
		`{"shutdown": {"grace": "-0.1ns"}}`:                              `1:24: shutdown.grace: is "-0.1ns", expected 0s or more`,
		`{"upstream": {"send_timeout": "0.1ns"}}`:                        `1:31: upstream.send_timeout: is 0s, expected more than 0s`,
		`{"sessions": {"ids": ["a", "", 1, "b", "b", "b"]}}`:             "1:28: sessions.ids[1]: is \"\", expected 1-128 letters, digits, _ and -\n1:32: sessions.ids[2]: is the number 1, expected a string; put quotes around it\n1:40: sessions.ids[4]: b stands there twice, expected distinct ones\n1:45: sessions.ids[5]: b stands there twice, expected distinct ones",
		`{"nats": {"url": "nats://u:hunter2@h", "listen": "localhost"}}`: "1:18: nats.url: is set and nats.listen too, expected one of them: listen is the address of the embedded server, which url replaces\n1:50: nats.listen: is \"localhost\", expected host:port such as 127.0.0.1:9464, the port a number",
	} {
		cfg := Default()
		err := parse("f", []byte(doc), &cfg)
		if want := "f:" + strings.ReplaceAll(want, "\n", "\nf:"); err == nil || err.Error() != want {
			t.Errorf("%s: got\n%v\nwant\n%s", doc, err, want)
		}
	}
}

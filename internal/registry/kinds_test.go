package registry

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"toolhand/internal/tools"
)

// pigeon is a kind of handler that no other place knows of; it has a key of each type.
type pigeon struct {
	To    string            `yaml:"to" required:"where it flies, such as home"`
	Fast  bool              `yaml:"fast"`
	Birds int               `yaml:"birds"`
	Rest  time.Duration     `yaml:"rest"`
	Route []string          `yaml:"route" required:"the towns on its way" lacks:"town"`
	Rings map[string]string `yaml:"rings"`
}

func (pigeon) Schema() string {
	return `{"type": "object", "required": ["to", "route"], "additionalProperties": false, "properties": {
		"to": {"type": "string", "title": "where it flies, such as home", "pattern": "^[a-z]+$"}, "fast": {"type": "boolean"}, "birds": {"type": "integer", "title": "a whole number from 1 to 9", "minimum": 1, "maximum": 9},
		"rest": {"$ref": "#/$defs/duration"}, "route": {"type": "array", "items": {"$ref": "#/$defs/text"}, "minItems": 1, "title": "the towns on its way"}, "rings": {"$ref": "#/$defs/variables"}}}`
}

// sent is a handler that keeps what it was made with.
type sent struct {
	echo
	pigeon
}

func newPigeon(c pigeon, common tools.Common) (tools.Handler, error) {
	return &sent{echo{common: common}, c}, nil
}

// withPigeon has one more line in the table.
func withPigeon() *format { return formatOf(append(kinds(), kindOf("pigeon", newPigeon))) }

// TestOneMoreKind: a line in the table is all that manifests of another kind of handler
// need.
func TestOneMoreKind(t *testing.T) {
	set, err := Load(Options{format: withPigeon(), Dir: write(t, map[string]string{"a.yaml": `
name: a
description: d
input_schema: { type: object }
idempotent: true
handler: { pigeon: { to: home, fast: true, birds: 3, rest: 2m, route: [x, y], rings: { A: b } } }
`})})
	if err != nil {
		t.Fatal(err)
	}
	tool, _ := set.Lookup("a")
	made := tool.Handler.(*sent)
	if want := (pigeon{"home", true, 3, 2 * time.Minute, []string{"x", "y"}, map[string]string{"A": "b"}}); !reflect.DeepEqual(made.pigeon, want) {
		t.Errorf("made of %+v, expected %+v", made.pigeon, want)
	}
	if tool.Kind != "pigeon" || made.common.Name != "a" || !made.common.Idempotent {
		t.Errorf("kind %s, made with %+v", tool.Kind, made.common)
	}
}

// TestProblemsOfOneMoreKind: its problems are told as those of any other kind.
func TestProblemsOfOneMoreKind(t *testing.T) {
	const head = "name: a\ndescription: d\ninput_schema: { type: object }\n"
	for text, want := range map[string]string{
		"":                          "1:1: expected the key handler (exactly one of exec, http, nats, mcp and pigeon), found none",
		"handler: { pigeno: {} }\n": `4:12: handler.pigeno: unknown key (did you mean pigeon?), expected one of exec, http, nats, mcp, pigeon`,
		"handler: { pigeon: 5 }\n":  "4:20: handler.pigeon: expected the keys to, fast, birds, rest, route, rings, found integer 5",
		"handler: { pigeon: { birds: 0, fast: 1, rest: 2, tow: x } }\n": "4:20: handler.pigeon: expected the key to (where it flies, such as home), found none\n" +
			"4:20: handler.pigeon: expected the key route (the towns on its way), found none\n" +
			"4:29: handler.pigeon.birds: expected a whole number from 1 to 9, found integer 0\n" +
			"4:38: handler.pigeon.fast: expected true or false, found integer 1\n" +
			"4:47: handler.pigeon.rest: expected a duration above zero with its unit such as 120s, found integer 2: write 2s\n" +
			`4:50: handler.pigeon.tow: unknown key (did you mean to?), expected one of to, fast, birds, rest, route, rings`,
		"handler: { pigeon: { to: home, route: [] } }\n":  "4:39: handler.pigeon.route: expected the towns on its way, found an empty list",
		"handler: { pigeon: { to: HOME, route: [x] } }\n": `4:26: handler.pigeon.to: expected where it flies, such as home, found string "HOME"`,
	} {
		dir := write(t, map[string]string{"a.yaml": head + text})
		_, err := Load(Options{format: withPigeon(), Dir: dir})
		if err == nil {
			t.Errorf("%s: no error", text)
			continue
		}
		if got := strings.ReplaceAll(err.Error(), dir+"/a.yaml:", ""); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", text, got, want)
		}
	}
}

// TestSchemaOfOneMoreKind: the schema for editors has its part, and names it.
func TestSchemaOfOneMoreKind(t *testing.T) {
	text := string(withPigeon().form.Text())
	if !strings.Contains(text, "What runs the tool: exactly one of exec, http, nats, mcp and pigeon.") || !strings.Contains(text, `"birds": {`) {
		t.Error(text)
	}
	if strings.Contains(text, "KINDS") {
		t.Error("the schema has a place that is not filled in")
	}
}

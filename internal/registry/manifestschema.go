package registry

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// manifestText is the one place where a manifest's keys, types, bounds and
// defaults stand. A title says what is expected of a value, for our messages; a
// description what the key is for.
//
//go:embed manifest.schema.json
var manifestText []byte

// ManifestSchema is the JSON Schema of a manifest (draft 2020-12), for editors.
// Load takes nothing that it refuses. The slice is the caller's own.
func ManifestSchema() []byte { return bytes.Clone(manifestText) }

// manifestSchema is manifestText, compiled, and as it is written: only that has
// its keys in their order.
var manifestSchema = sync.OnceValue(func() (both struct {
	schema
	tree *node
}) {
	ps := &problems{file: "manifest.schema.json"}
	both.tree = parseJSON(ps, manifestText)
	both.byLocation = make(map[string]*jsonschema.Schema)
	c := jsonschema.NewCompiler()
	c.Draft, c.ExtractAnnotations = jsonschema.Draft2020, true
	c.LoadURL = schemaHome{}.load
	compiled, err := compileBounded(c, both.tree.get("$id").text, manifestText)
	if err != nil || len(ps.list) > 0 {
		panic(errors.Join(err, &Errors{ps.list})) // it is part of the program, and a test compiles it
	}
	both.compiled = compiled
	adopt(&both.schema, nil)
	return both
})

// partAt is the part of the schema for a key of a manifest, such as
// handler.exec.command, which must be one of the schema's; "" is the top.
func partAt(where string) *jsonschema.Schema {
	part := manifestSchema().compiled
	for name := range strings.SplitSeq(where, ".") {
		if name != "" {
			part = part.Properties[name]
		}
		for part.Ref != nil {
			part = part.Ref
		}
	}
	return part
}

// keysAt has the keys of a mapping of a manifest, in the order of the schema.
func keysAt(where string) []string {
	n := manifestSchema().tree
	for name := range strings.SplitSeq(where, ".") {
		if name != "" {
			n = n.get("properties").get(name)
		}
	}
	var keys []string
	for _, k := range n.get("properties").keys {
		keys = append(keys, k.text)
	}
	return keys
}

// bounds are those of a whole number.
func bounds(where string) (least, most int) {
	part := partAt(where)
	return int(part.Minimum.Num().Int64()), int(part.Maximum.Num().Int64())
}

// conform tells of what the schema refuses. It has the last word: the readers
// say most of it before, in better words.
func (m *manifest) conform(top *node) {
	s := manifestSchema()
	value := top.value()
	var invalid *jsonschema.ValidationError
	if err := s.compiled.Validate(value); err == nil || !errors.As(err, &invalid) {
		return
	}
	e := explainer{schema: &s.schema, root: value}
	found, _ := e.explain(invalid)
	for _, v := range found {
		m.at(top.at(v.pointer), "%s%s", whereOf(top, v.pointer), v.text())
	}
}

// whereOf writes a JSON pointer as messages do: handler.exec.pass_env[0] and a
// colon, nothing for the top.
func whereOf(n *node, pointer string) string {
	if pointer == "" {
		return ""
	}
	where := ""
	for token := range strings.SplitSeq(pointer[1:], "/") {
		switch {
		case n.kind == kindArray:
			where += "[" + token + "]"
		case where == "":
			where = unescapePointer(token)
		default:
			where += "." + shorten(unescapePointer(token))
		}
		n = n.at("/" + token)
	}
	return oneLine(where) + ": "
}

// value is the node as the validator takes it, its numbers as they are written.
func (n *node) value() any {
	switch n.kind {
	case kindBool:
		return n.text == "true"
	case kindNumber:
		return json.Number(n.text)
	case kindString:
		return n.text
	case kindArray:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			list[i] = item.value()
		}
		return list
	case kindObject:
		object := make(map[string]any, len(n.items))
		for i, item := range n.items {
			object[n.keys[i].text] = item.value()
		}
		return object
	}
	return nil
}

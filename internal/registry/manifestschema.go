package registry

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"toolhand/internal/tools"
	toolmcp "toolhand/internal/tools/mcp"
)

// manifestText is the one place where a manifest's keys, types, bounds and
// defaults stand, but for those of the kinds of handlers, which are inserted at KINDS.
// A title says what is expected of a value, for our messages; a description what the
// key is for.
//
//go:embed manifest.schema.json
var manifestText string

// ManifestSchema is the JSON Schema of a manifest (draft 2020-12), for editors.
// Load takes nothing that it refuses. The slice is the caller's own.
func ManifestSchema() []byte {
	var text bytes.Buffer
	_ = json.Indent(&text, standard().text, "", "  ") // it is parsed already
	return text.Bytes()
}

// A format is how manifests are written: the kinds of handlers that there are, and the
// schema with their keys. It is immutable.
type format struct {
	kinds []handlerKind
	// group makes the group of a manifest of many tools.
	group func(toolmcp.Config, tools.Common, *toolmcp.Servers) (*toolmcp.Group, error)
	// text is the schema as it is written, its tree that as nodes: only they have its keys
	// in their order.
	text   []byte
	tree   *node
	schema schema
}

// standard is the format of the worker's manifests.
var standard = sync.OnceValue(func() *format { return formatOf(kinds()) })

// formatOf is the format with these kinds of handlers.
func formatOf(kinds []handlerKind) *format {
	var names, parts []string
	for _, k := range kinds {
		names, parts = append(names, k.name), append(parts, `"`+k.name+`": `+k.schema)
	}
	text := strings.NewReplacer(`"KINDS": {}`, strings.Join(parts, ","), "KINDS", listed(names, "and")).Replace(manifestText)
	ps := &problems{file: "manifest.schema.json"}
	f := &format{kinds: kinds, group: toolmcp.NewGroup, text: []byte(text)}
	f.tree = parseJSON(ps, f.text)
	f.schema.byLocation = make(map[string]*jsonschema.Schema)
	c := jsonschema.NewCompiler()
	c.Draft, c.ExtractAnnotations = jsonschema.Draft2020, true
	c.LoadURL = schemaHome{}.load
	compiled, err := compileBounded(c, f.tree.get("$id").text, f.text)
	if err != nil || len(ps.list) > 0 {
		panic(errors.Join(err, &Errors{ps.list})) // it is part of the program, and a test compiles it
	}
	f.schema.compiled = compiled
	adopt(&f.schema, nil)
	return f
}

// partAt is the part of the schema for a key of a manifest, such as
// handler.exec.command, which must be one of the schema's; "" is the top.
func (f *format) partAt(where string) *jsonschema.Schema {
	part := f.schema.compiled
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
func (f *format) keysAt(where string) []string {
	n := f.tree
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

// conform tells of what the schema refuses. It has the last word: the readers
// say most of it before, in better words.
func (m *manifest) conform(top *node) {
	s := &m.opts.format.schema
	value := top.value()
	var invalid *jsonschema.ValidationError
	if err := s.compiled.Validate(value); err == nil || !errors.As(err, &invalid) {
		return
	}
	e := explainer{schema: s, root: value}
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

package schema

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"toolhand/internal/document"
)

// A Form is the schema of a file that people write, and the judge of its form. A title in
// it says what is expected of a value, for messages; a description what a key is for, for
// editors; writeOnly that a value may be a secret: none that is a scalar is shown. It is immutable, and any number of
// goroutines may use it.
type Form struct {
	schema Schema
	text   []byte
}

// NewForm compiles a form. Its text is part of the program: it panics where that is wrong.
func NewForm(text string) *Form {
	ps := &document.Problems{File: "form"}
	f := &Form{text: []byte(text)}
	f.schema.order = document.ParseJSON(ps, f.text)
	if err := ps.Err(); err != nil {
		panic(err)
	}
	f.schema.byLocation = make(map[string]*jsonschema.Schema)
	c := jsonschema.NewCompiler()
	c.Draft, c.ExtractAnnotations = jsonschema.Draft2020, true
	c.LoadURL = func(url string) (io.ReadCloser, error) { return nil, fmt.Errorf("%s is not part of the form", url) }
	compiled, err := compileBounded(c, f.schema.order.Get("$id").Text, f.text)
	if err != nil {
		panic(err)
	}
	f.schema.compiled = compiled
	adopt(&f.schema, nil)
	return f
}

// Text is the schema as JSON, indented, for editors. The slice is the caller's own.
func (f *Form) Text() []byte {
	var out bytes.Buffer
	_ = json.Indent(&out, f.text, "", "  ") // it was parsed
	return out.Bytes()
}

// Check tells ps of all that the form refuses of a document, each at its place. A
// document that it takes can be decoded.
func (f *Form) Check(ps *document.Problems, top *document.Node) {
	value := top.Value()
	var invalid *jsonschema.ValidationError
	if err := f.schema.compiled.Validate(value); err == nil || !errors.As(err, &invalid) {
		return
	}
	e := explainer{schema: &f.schema, root: value}
	found, _ := e.explain(invalid)
	for _, v := range found {
		at := top.At(v.pointer)
		if key := at.Key(v.name); key != nil {
			at, v.pointer = key, document.Below(v.pointer, v.name)
		}
		ps.At(at, v.pointer, "%s", v.text())
	}
}

// Expect holds a value against the part of the form for a key such as "handler.exec.dir"
// or "sessions.ids[]", which must be one of the form's. Its error says what is expected.
func (f *Form) Expect(key string, value any) error {
	part := resolve(f.schema.compiled)
	for name := range strings.SplitSeq(key, ".") {
		name, list := strings.CutSuffix(name, "[]")
		if part = resolve(part.Properties[name]); list {
			part = resolve(part.Items2020)
		}
	}
	if part.Validate(value) == nil {
		return nil
	}
	return fmt.Errorf("expected %s, found %s", part.Title, document.Describe(value))
}

func resolve(part *jsonschema.Schema) *jsonschema.Schema {
	for part.Ref != nil && part.Title == "" {
		part = part.Ref
	}
	return part
}

// titleOf is what is expected of a key's value, in brackets; empty where it is not said.
func titleOf(part *jsonschema.Schema) string {
	if part == nil {
		return ""
	}
	if title := resolve(part).Title; title != "" {
		return " (" + title + ")"
	}
	return ""
}

// keysOf has the keys of a part that is a mapping, in the order of the form's text.
func (s *Schema) keysOf(part *jsonschema.Schema) (keys []string) {
	_, pointer, _ := strings.Cut(part.Location, "#")
	for _, k := range s.order.At(unescapeLocation(pointer)).Get("properties").Keys {
		keys = append(keys, k.Text)
	}
	return keys
}

// unknownKeys tells of keys of a form's mapping that should not be there.
func (e *explainer) unknownKeys(v violation, part *jsonschema.Schema, extra []string) (out []violation) {
	known := e.schema.keysOf(part)
	for _, name := range extra {
		one := v
		one.name, one.expected, one.found = name, strings.Join(known, ", "), document.Nearest(name, known)
		out = append(out, one)
	}
	return out
}

// formType says which types a form expects.
func (e *explainer) formType(part *jsonschema.Schema) string {
	var all []string
	for _, name := range part.Types {
		switch {
		case name == "boolean":
			name = "true or false"
		case name == "null":
			continue
		case name == "object" && len(part.Properties) > 0:
			name = "the keys " + strings.Join(e.schema.keysOf(part), ", ")
		case name == "object":
			name = "a mapping of names and values"
		}
		all = append(all, name)
	}
	return strings.Join(all, " or ")
}

// asList says how to write a text whose words were meant as a list; empty where the form
// takes no such list, or the words can't be told.
func asList(part *jsonschema.Schema, text string) string {
	const most = 200 // bytes of it
	if len(part.Types) != 1 || part.Types[0] != "array" || len(text) > most || strings.ContainsAny(text, "'\"\\`$") {
		return ""
	}
	var quoted []string
	var words []any
	for _, word := range strings.Fields(text) {
		words, quoted = append(words, word), append(quoted, document.Quote(word))
	}
	if len(words) == 0 || part.Validate(words) != nil {
		return ""
	}
	return ": write [" + strings.Join(quoted, ", ") + "]"
}

// formFound says what a form's value is, unless it may be a secret, and how to write what
// was probably meant.
func formFound(v violation, part *jsonschema.Schema, value any) string {
	if v.keyword == "uniqueItems" {
		return v.found
	}
	if v.keyword == "not" || v.keyword == "oneOf" {
		return "" // keys that do not go together
	}
	switch value.(type) {
	case string, json.Number, bool:
		if part.WriteOnly {
			return "" // it may be a secret
		}
	}
	found := document.Describe(value)
	switch value := value.(type) {
	case string:
		var known []string
		for _, one := range part.Enum {
			known = append(known, fmt.Sprint(one))
		}
		return found + cmp.Or(document.Nearest(value, known), asList(part, value))
	case nil:
		return "nothing"
	case []any:
		if len(value) == 0 {
			return "an empty list"
		}
		return "a list"
	case map[string]any:
		if len(value) == 0 {
			return "an empty mapping"
		}
		return "the keys " + listShort(slices.Collect(maps.Keys(value)))
	case json.Number, bool:
		for _, unit := range []string{"", "s"} {
			text := fmt.Sprint(value) + unit
			if !slices.Contains(part.Types, "string") || part.Validate(text) != nil {
				continue
			}
			if unit == "" {
				text = document.Quote(text)
			}
			return found + ": write " + text
		}
	}
	return found
}

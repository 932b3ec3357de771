package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
	"github.com/santhosh-tekuri/jsonschema/v5"
)

// walk goes through a document beside the value that it fills. It is used by
// one goroutine, once.
type walk struct {
	file     string
	problems Error
	// seen has the position of the value of each key that the file sets.
	seen map[string]*token.Position
	// anchors are those before the place where the walk stands. One can be
	// used within itself; the depth of Config ends that.
	anchors map[string]ast.Node
}

func (w *walk) add(pos *token.Position, key, text string) {
	w.problems.Problems = append(w.problems.Problems, Problem{
		File: w.file, Line: pos.Line, Column: pos.Column, Key: key, Text: text,
	})
}

// wrong reports a value of another kind than expected.
func (w *walk) wrong(n ast.Node, key, expected string) {
	w.add(position(n), key, fmt.Sprintf("is %s, expected %s", describe(n), expected))
}

var (
	durationType      = reflect.TypeFor[Duration]()
	toolsDiscoverType = reflect.TypeFor[ToolsDiscover]()
)

// value takes n into v, the value at key, and gives it as JSON has it; nil where
// it is refused, which has been reported. It descends only as deep as the schema
// does and visits each element once, so that aliases can't blow it up.
func (w *walk) value(n ast.Node, v reflect.Value, part *jsonschema.Schema, key string) any {
	n, ok := w.plain(n, key)
	if !ok {
		return nil
	}
	if key != "" {
		w.seen[key] = position(n)
	}
	part = resolve(part)
	_, isNull := n.(*ast.NullNode)
	switch {
	case v.Type() == durationType:
		return w.duration(n, v, part, key)
	case v.Type() == toolsDiscoverType:
		return w.toolsDiscover(n, v.Addr().Interface().(*ToolsDiscover), part, key)
	case isNull && takes(part, "null"):
		return nil // a section whose keys are all commented out says nothing
	case takes(part, "object"):
		return w.section(n, v, part, key)
	case takes(part, "array"):
		return w.list(n, v, part, key)
	case takes(part, "string"):
		return w.str(n, v, key)
	case takes(part, "integer"):
		return w.integer(n, v, key)
	}
	panic("config: no rule for the type of " + key)
}

// plain looks through anchors, aliases and tags. It reports false where that
// leads nowhere, which has been reported.
func (w *walk) plain(n ast.Node, key string) (ast.Node, bool) {
	switch n := n.(type) {
	case *ast.AnchorNode:
		value, ok := w.plain(n.Value, key)
		if ok && n.Name != nil {
			w.anchors[n.Name.GetToken().Value] = value
		}
		return value, ok
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		value, ok := w.anchors[name]
		if !ok {
			w.add(position(n), key, fmt.Sprintf("alias *%s has no anchor before it, expected a value", name))
		}
		return value, ok
	case *ast.TagNode:
		w.add(position(n), key, fmt.Sprintf("has the tag %s, expected a value without a tag", n.GetToken().Value))
		return nil, false
	case nil:
		w.add(&token.Position{Line: 1, Column: 1}, key, "has no value, expected one")
		return nil, false
	}
	return n, true
}

// section takes a mapping into a struct.
func (w *walk) section(n ast.Node, v reflect.Value, part *jsonschema.Schema, key string) any {
	mapping, ok := n.(ast.MapNode)
	if !ok {
		w.wrong(n, key, "keys: "+strings.Join(keysOf(v.Type(), part), ", "))
		return nil
	}
	values := map[string]any{}
	first := map[string]*token.Position{}
	for it := mapping.MapRange(); it.Next(); {
		name, pos := it.Key().GetToken().Value, position(it.Key())
		if complexKey, ok := it.Key().(*ast.MappingKeyNode); ok && complexKey.Value != nil {
			name = complexKey.Value.GetToken().Value
		}
		full := join(key, name)
		if before := first[name]; before != nil {
			w.add(pos, full, fmt.Sprintf("is set twice, expected once; it is on line %d too", before.Line))
			continue
		}
		first[name] = pos
		known := part.Properties[name]
		if known == nil {
			w.add(pos, full, "unknown key, expected one of "+strings.Join(keysOf(v.Type(), part), ", "))
			continue
		}
		if value := w.value(it.Value(), fieldOf(v, name), known, full); value != nil {
			values[name] = value
		}
	}
	return values
}

// fieldOf is the field of a key of the schema; a test finds the key that has none.
func fieldOf(v reflect.Value, name string) reflect.Value {
	for i := range v.NumField() {
		if yamlName(v.Type().Field(i)) == name {
			return v.Field(i)
		}
	}
	panic("config: no field for the key " + name)
}

// keysOf has the keys of a section of the schema in the order of the fields.
func keysOf(t reflect.Type, part *jsonschema.Schema) []string {
	var keys []string
	for i := range t.NumField() {
		if name := yamlName(t.Field(i)); part.Properties[name] != nil {
			keys = append(keys, name)
		}
	}
	return keys
}

// list takes a sequence of strings. An element that is refused is nil.
func (w *walk) list(n ast.Node, v reflect.Value, part *jsonschema.Schema, key string) any {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok {
		w.wrong(n, key, "a list of strings, such as [a, b]")
		return nil
	}
	list := reflect.MakeSlice(v.Type(), len(sequence.Values), len(sequence.Values))
	values := make([]any, len(sequence.Values))
	for i, element := range sequence.Values {
		values[i] = w.value(element, list.Index(i), itemOf(part), key+"["+strconv.Itoa(i)+"]")
	}
	v.Set(list)
	return values
}

func (w *walk) str(n ast.Node, v reflect.Value, key string) any {
	switch n := n.(type) {
	case *ast.StringNode:
		v.SetString(n.Value)
		return n.Value
	case *ast.LiteralNode:
		v.SetString(n.Value.Value)
		return n.Value.Value
	case *ast.NullNode:
		w.wrong(n, key, `a string; leave the key out for its default, or write "" for none`)
	case ast.ScalarNode:
		w.wrong(n, key, "a string; put quotes around it")
	default:
		w.wrong(n, key, "a string")
	}
	return nil
}

func (w *walk) integer(n ast.Node, v reflect.Value, key string) any {
	if number, ok := n.(*ast.IntegerNode); ok {
		if i, err := strconv.ParseInt(fmt.Sprint(number.GetValue()), 10, strconv.IntSize); err == nil {
			v.SetInt(i)
			return i
		}
	}
	w.wrong(n, key, "a whole number")
	return nil
}

const expectedDuration = "a duration such as 90s, 5m or 250ms"

func (w *walk) duration(n ast.Node, v reflect.Value, part *jsonschema.Schema, key string) any {
	text := n.GetToken().Value
	switch n.(type) {
	case *ast.StringNode:
	case *ast.IntegerNode, *ast.FloatNode:
		if text != "0" {
			w.add(position(n), key, fmt.Sprintf("%s has no unit, expected %s: write %[1]ss for seconds", text, expectedDuration))
			return nil
		}
	default:
		w.wrong(n, key, expectedDuration)
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		w.wrong(n, key, expectedDuration)
		return nil
	}
	v.SetInt(int64(d))
	// No pattern sees that 0.1ns is no time at all.
	if rounded := Duration(d).String(); part.Validate(rounded) != nil {
		return rounded
	}
	return text
}

// toolsDiscover takes true, false or a list of names.
func (w *walk) toolsDiscover(n ast.Node, d *ToolsDiscover, part *jsonschema.Schema, key string) any {
	switch n := n.(type) {
	case *ast.BoolNode:
		d.All = n.Value
		return n.Value
	case *ast.SequenceNode:
		return w.list(n, reflect.ValueOf(&d.Names).Elem(), part, key)
	}
	w.wrong(n, key, "true, false or a list of tool names")
	return nil
}

// position is where a person would say that a node begins. The token of a
// mapping is the colon behind its first key.
func position(n ast.Node) *token.Position {
	switch n := n.(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 && !n.IsFlowStyle {
			return position(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return position(n.Key)
	}
	return n.GetToken().Position
}

// describe names a node's value for a message, short and on one line.
func describe(n ast.Node) string {
	switch n := n.(type) {
	case *ast.NullNode:
		return "empty"
	case *ast.SequenceNode:
		return "a list"
	case ast.MapNode:
		return "a section with keys"
	case *ast.StringNode:
		return quote(n.Value)
	case *ast.LiteralNode:
		return quote(n.Value.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + n.GetToken().Value
	case *ast.BoolNode:
		return n.GetToken().Value
	}
	return n.Type().YAMLName()
}

// quote shows at most the first 60 characters of s.
func quote(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "…"
	}
	return strconv.Quote(s)
}

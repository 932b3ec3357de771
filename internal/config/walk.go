package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
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

// value takes n into v, the value at key. It descends only as deep as Config
// does and visits each element once, so that aliases can't blow it up.
func (w *walk) value(n ast.Node, v reflect.Value, key string) {
	n, ok := w.plain(n, key)
	if !ok {
		return
	}
	if key != "" {
		w.seen[key] = position(n)
	}
	_, isNull := n.(*ast.NullNode)
	switch {
	case v.Type() == durationType:
		w.duration(n, v, key)
	case v.Type() == toolsDiscoverType:
		w.toolsDiscover(n, v.Addr().Interface().(*ToolsDiscover), key)
	case isNull && (v.Kind() == reflect.Struct || v.Kind() == reflect.Slice):
		// A section whose keys are all commented out says nothing.
	case v.Kind() == reflect.Struct:
		w.section(n, v, key)
	case v.Kind() == reflect.Slice:
		w.list(n, v, key)
	case v.Kind() == reflect.String:
		w.str(n, v, key)
	case v.Kind() == reflect.Int:
		w.integer(n, v, key)
	default:
		panic("config: no rule for a field of type " + v.Type().String())
	}
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
func (w *walk) section(n ast.Node, v reflect.Value, key string) {
	mapping, ok := n.(ast.MapNode)
	if !ok {
		w.wrong(n, key, "keys: "+strings.Join(keysOf(v.Type()), ", "))
		return
	}
	first := map[string]*token.Position{}
	for it := mapping.MapRange(); it.Next(); {
		name, pos := it.Key().GetToken().Value, position(it.Key())
		if complexKey, ok := it.Key().(*ast.MappingKeyNode); ok && complexKey.Value != nil {
			name = complexKey.Value.GetToken().Value
		}
		full := name
		if key != "" {
			full = key + "." + name
		}
		if before := first[name]; before != nil {
			w.add(pos, full, fmt.Sprintf("is set twice, expected once; it is on line %d too", before.Line))
			continue
		}
		first[name] = pos
		field, ok := fieldOf(v, name)
		if !ok {
			w.add(pos, full, "unknown key, expected one of "+strings.Join(keysOf(v.Type()), ", "))
			continue
		}
		w.value(it.Value(), field, full)
	}
}

func fieldOf(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if yamlName(v.Type().Field(i)) == name {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// keysOf has the keys of a section in the order of its fields.
func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		keys = append(keys, yamlName(t.Field(i)))
	}
	return keys
}

// list takes a sequence of strings.
func (w *walk) list(n ast.Node, v reflect.Value, key string) {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok {
		w.wrong(n, key, "a list of strings, such as [a, b]")
		return
	}
	list := reflect.MakeSlice(v.Type(), len(sequence.Values), len(sequence.Values))
	for i, element := range sequence.Values {
		w.value(element, list.Index(i), key+"["+strconv.Itoa(i)+"]")
	}
	v.Set(list)
}

func (w *walk) str(n ast.Node, v reflect.Value, key string) {
	switch n := n.(type) {
	case *ast.StringNode:
		v.SetString(n.Value)
	case *ast.LiteralNode:
		v.SetString(n.Value.Value)
	case *ast.NullNode:
		w.wrong(n, key, `a string; leave the key out for its default, or write "" for none`)
	case ast.ScalarNode:
		w.wrong(n, key, "a string; put quotes around it")
	default:
		w.wrong(n, key, "a string")
	}
}

func (w *walk) integer(n ast.Node, v reflect.Value, key string) {
	if number, ok := n.(*ast.IntegerNode); ok {
		// Bounds are narrower than an int, and check.go has them.
		if i, err := strconv.ParseInt(fmt.Sprint(number.GetValue()), 10, strconv.IntSize); err == nil {
			v.SetInt(i)
			return
		}
	}
	w.wrong(n, key, "a whole number")
}

const expectedDuration = "a duration such as 90s, 5m or 250ms"

func (w *walk) duration(n ast.Node, v reflect.Value, key string) {
	text := n.GetToken().Value
	switch n.(type) {
	case *ast.StringNode:
	case *ast.IntegerNode, *ast.FloatNode:
		if text != "0" {
			w.add(position(n), key, fmt.Sprintf("%s has no unit, expected %s: write %[1]ss for seconds", text, expectedDuration))
			return
		}
	default:
		w.wrong(n, key, expectedDuration)
		return
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		w.wrong(n, key, expectedDuration)
		return
	}
	v.SetInt(int64(d))
}

// toolsDiscover takes true, false or a list of names.
func (w *walk) toolsDiscover(n ast.Node, d *ToolsDiscover, key string) {
	switch n := n.(type) {
	case *ast.BoolNode:
		d.All = n.Value
	case *ast.SequenceNode:
		w.list(n, reflect.ValueOf(&d.Names).Elem(), key)
	default:
		w.wrong(n, key, "true, false or a list of tool names")
	}
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

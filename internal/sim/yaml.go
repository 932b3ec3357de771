package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// source reads a YAML file strictly, off its syntax tree: every error has a
// place, and a number keeps all of its digits.
type source struct{ name string }

// setter takes the value of a key.
type setter func(ast.Node) error

// parse returns the one document of the file.
func (s source) parse(data []byte) (ast.Node, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		var syntax yaml.Error
		if errors.As(err, &syntax) && syntax.GetToken() != nil {
			return nil, s.at(syntax.GetToken(), "%s", syntax.GetMessage())
		}
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	switch {
	case len(file.Docs) == 0 || file.Docs[0].Body == nil:
		return nil, fmt.Errorf("%s:1:1: the file is empty", s.name)
	case len(file.Docs) > 1:
		return nil, s.at(file.Docs[1].GetToken(), "a second document")
	}
	return file.Docs[0].Body, nil
}

func (s source) at(t *token.Token, format string, args ...any) error {
	line, column := 1, 1
	if t != nil && t.Position != nil {
		line, column = t.Position.Line, t.Position.Column
	}
	return fmt.Errorf("%s:%d:%d: %s", s.name, line, column, fmt.Sprintf(format, args...))
}

func (s source) errorf(n ast.Node, format string, args ...any) error {
	return s.at(n.GetToken(), format, args...)
}

// entries returns the keys and values of a mapping.
func (s source) entries(n ast.Node, what string) ([]*ast.MappingValueNode, error) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, nil
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, nil
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return nil, s.errorf(n, "%s: anchors, aliases and tags are not supported", what)
	}
	return nil, s.errorf(n, "%s must be a mapping", what)
}

// mapping reads a mapping whose keys are known.
func (s source) mapping(n ast.Node, what string, keys map[string]setter, required ...string) error {
	entries, err := s.entries(n, what)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, e := range entries {
		name := e.Key.GetToken().Value
		set, known := keys[name]
		if !known {
			return s.errorf(e.Key, "unknown key %q in %s; it has %s", name, what, strings.Join(sortedNames(keys), ", "))
		}
		seen[name] = true
		if err := set(e.Value); err != nil {
			return err
		}
	}
	for _, name := range required {
		if !seen[name] {
			return s.errorf(n, "%s needs %q", what, name)
		}
	}
	return nil
}

func (s source) sequence(n ast.Node, what string, each setter) error {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		return s.errorf(n, "%s must be a sequence", what)
	}
	for _, v := range seq.Values {
		if err := each(v); err != nil {
			return err
		}
	}
	return nil
}

// text returns the text of a string, block or plain.
func (s source) text(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

func (s source) str(p *string) setter {
	return func(n ast.Node) error {
		v, ok := s.text(n)
		if !ok || v == "" {
			return s.errorf(n, "a text is expected (put it in quotes)")
		}
		*p = v
		return nil
	}
}

func (s source) choice(p *string, values ...string) setter {
	return func(n ast.Node) error {
		v, _ := s.text(n)
		if !slices.Contains(values, v) {
			return s.errorf(n, "%q is none of %s", n.GetToken().Value, strings.Join(values, ", "))
		}
		*p = v
		return nil
	}
}

func (s source) duration(p *time.Duration) setter {
	return func(n ast.Node) error {
		v, _ := s.text(n)
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			return s.errorf(n, "%q is no duration such as 500ms or 2s", n.GetToken().Value)
		}
		*p = d
		return nil
	}
}

func (s source) integer(p *int, low, high int) setter {
	return func(n ast.Node) error {
		i, ok := n.(*ast.IntegerNode)
		if ok {
			if v, isUnsigned := i.Value.(uint64); isUnsigned && v >= uint64(low) && v <= uint64(high) {
				*p = int(v)
				return nil
			}
		}
		return s.errorf(n, "a number from %d to %d is expected", low, high)
	}
}

func (s source) boolean(p *bool) setter {
	return func(n ast.Node) error {
		b, ok := n.(*ast.BoolNode)
		if !ok {
			return s.errorf(n, "true or false is expected")
		}
		*p = b.Value
		return nil
	}
}

// json turns the value into JSON, each number digit by digit.
func (s source) json(p *json.RawMessage) setter {
	return func(n ast.Node) error {
		v, err := s.encode(n)
		*p = v
		return err
	}
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

func (s source) encode(n ast.Node) (json.RawMessage, error) {
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return json.RawMessage("null"), nil
	case *ast.BoolNode:
		return encode(n.Value), nil
	case *ast.IntegerNode:
		return number(n.Token.Value, n.Value), nil
	case *ast.FloatNode:
		return number(n.Token.Value, n.Value), nil
	case *ast.StringNode:
		if n.Token.Type == token.StringType && jsonNumber.MatchString(n.Value) { // beyond 64 bits
			return json.RawMessage(n.Value), nil
		}
		return encode(n.Value), nil
	case *ast.LiteralNode:
		return encode(n.Value.Value), nil
	case *ast.SequenceNode:
		var items []json.RawMessage
		for _, v := range n.Values {
			item, err := s.encode(v)
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		return list(items), nil
	}
	entries, err := s.entries(n, "this value")
	if err != nil {
		return nil, err
	}
	pairs := []any{}
	for _, e := range entries {
		value, err := s.encode(e.Value)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, e.Key.GetToken().Value, value)
	}
	return object(pairs...), nil
}

func number(text string, value any) json.RawMessage {
	if jsonNumber.MatchString(text) {
		return json.RawMessage(text)
	}
	return encode(value) // such as 0x1f or 1_000
}

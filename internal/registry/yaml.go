package registry

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxLineTokens bounds the structure that one line holds outside brackets: the
// parser's time grows with the square of its nesting, which a line of "- - - -"
// makes deep.
const maxLineTokens = 200

// maxTokens bounds a YAML text: the parser's time grows with the square of a
// mapping's keys too. 16,000 keys in one mapping take about a second; the
// million bytes of a file could hold ten times as many.
const maxTokens = 50_000

// yamlReader makes nodes of a parsed document, with the aliases replaced by
// what they stand for.
type yamlReader struct {
	ps      *problems
	anchors map[string]ast.Node
	// open are the anchors that are being replaced, against one that holds
	// itself.
	open  map[string]bool
	nodes int
	full  bool
}

// parseYAML gives the one document of a YAML text. What is wrong goes to ps; the
// result is nil if nothing can be read.
func parseYAML(ps *problems, data []byte) (n *node) {
	if !checkText(ps, data) {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			ps.add(1, 1, fmt.Sprintf("not valid YAML: the parser gave up: %s", shorten(fmt.Sprint(r))))
			n = nil
		}
	}()
	tokens := lexer.Tokenize(strings.TrimPrefix(string(data), "\uFEFF"))
	if !checkTokens(ps, tokens) {
		return nil
	}
	// Duplicate keys are looked for later, so that all of them are told.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		line, column, text := 1, 1, err.Error()
		var se yaml.Error
		if errors.As(err, &se) {
			text = se.GetMessage()
			if tk := se.GetToken(); tk != nil && tk.Position != nil {
				line, column = tk.Position.Line, tk.Position.Column
			}
		}
		ps.add(line, column, "not valid YAML: "+oneLine(shortenTo(text, 300)))
		return nil
	}
	var first ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if first != nil {
			pos := start(doc.Body).Position
			ps.add(pos.Line, pos.Column, "a second YAML document: expected one document, so one tool, a file")
			break
		}
		first = doc.Body
	}
	if first == nil {
		ps.add(1, 1, "the file holds nothing but comments")
		return nil
	}
	r := &yamlReader{ps: ps, anchors: make(map[string]ast.Node), open: make(map[string]bool)}
	before := len(ps.list)
	n = r.read(first, 0)
	n.duplicates(ps)
	if r.full || len(ps.list) > before && n.kind != kindObject {
		return nil
	}
	return n
}

// checkTokens refuses what the parser would take too long for.
func checkTokens(ps *problems, tokens token.Tokens) bool {
	if len(tokens) > maxTokens {
		pos := tokens[maxTokens].Position
		ps.add(pos.Line, pos.Column, fmt.Sprintf("expected at most %d words and signs of YAML, found more: a large schema can stand in a JSON file, see input_schema_file", maxTokens))
		return false
	}
	flow, line, count := 0, 0, 0
	for _, tk := range tokens {
		if tk.Position.Line != line {
			line, count = tk.Position.Line, 0
		}
		switch tk.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType, token.AnchorType, token.AliasType, token.TagType:
			if flow == 0 {
				count++
			}
		}
		if flow > maxDepth || count > maxLineTokens {
			ps.add(tk.Position.Line, tk.Position.Column, fmt.Sprintf("expected at most %d levels of nesting, found more", maxDepth))
			return false
		}
	}
	return true
}

// start is the token at which a node begins.
func start(n ast.Node) *token.Token {
	switch v := n.(type) {
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return start(v.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return start(v.Key)
	}
	return n.GetToken()
}

func (r *yamlReader) read(n ast.Node, depth int) *node {
	out := &node{}
	if n == nil {
		return out
	}
	if tk := start(n); tk != nil && tk.Position != nil {
		out.line, out.column = tk.Position.Line, tk.Position.Column
	}
	if r.full {
		return out
	}
	if r.nodes++; r.nodes > maxNodes || depth > maxDepth {
		r.full = true
		r.ps.at(out, "expected at most %d values and %d levels, aliases replaced, found more", maxNodes, maxDepth)
		return out
	}
	switch v := n.(type) {
	case *ast.NullNode:
		out.kind = kindNull
	case *ast.BoolNode:
		out.kind, out.text = kindBool, fmt.Sprint(v.Value)
	case *ast.IntegerNode, *ast.FloatNode:
		r.number(out, n.GetToken().Value)
	case *ast.InfinityNode, *ast.NanNode:
		r.ps.at(out, "expected a number that JSON can write, found %s: quote it if it is text", n.GetToken().Value)
	case *ast.StringNode:
		out.kind, out.text = kindString, v.Value
		// The parser takes numbers beyond 64 bits, and 1e3, for text.
		if v.Token.Type == token.StringType && jsonNumber.MatchString(v.Value) {
			r.number(out, v.Value)
		}
	case *ast.LiteralNode:
		out.kind, out.text = kindString, v.Value.Value
	case *ast.SequenceNode:
		out.kind = kindArray
		for _, item := range v.Values {
			out.items = append(out.items, r.read(item, depth+1))
		}
	case *ast.MappingNode:
		out.kind = kindObject
		for _, pair := range v.Values {
			r.pair(out, pair, depth)
		}
	case *ast.MappingValueNode:
		out.kind = kindObject
		r.pair(out, v, depth)
	default:
		return r.indirect(out, n, depth)
	}
	return out
}

// indirect reads what only stands for, or decorates, another node.
func (r *yamlReader) indirect(out *node, n ast.Node, depth int) *node {
	switch v := n.(type) {
	case *ast.AnchorNode:
		name := v.Name.GetToken().Value
		r.open[name] = true
		value := r.read(v.Value, depth+1)
		delete(r.open, name)
		r.anchors[name] = v.Value
		return value
	case *ast.AliasNode:
		name := v.Value.GetToken().Value
		target, ok := r.anchors[name]
		switch {
		case r.open[name]:
			r.ps.at(out, "the alias *%s stands within its own anchor", shorten(name))
		case !ok:
			r.ps.at(out, "the alias *%s has no anchor &%s before it", shorten(name), shorten(name))
		default:
			r.open[name] = true
			value := r.read(target, depth+1)
			delete(r.open, name)
			return value
		}
		return out
	case *ast.TagNode:
		if tag := v.Start.Value; tag != "!!str" {
			r.ps.at(out, "the tag %s is not known: expected plain YAML, or !!str", shorten(tag))
			return out
		}
		value := r.read(v.Value, depth+1)
		if scalar, ok := v.Value.(ast.ScalarNode); ok {
			value.kind, value.text = kindString, scalar.GetToken().Value
		}
		return value
	}
	r.ps.at(out, "found %s where a value is expected", strings.ToLower(n.Type().String()))
	return out
}

func (r *yamlReader) pair(out *node, pair *ast.MappingValueNode, depth int) {
	var key ast.Node = pair.Key
	if k, ok := key.(*ast.MappingKeyNode); ok {
		key = k.Value
	}
	place := &node{kind: kindString}
	if tk := start(pair.Key); tk != nil && tk.Position != nil {
		place.line, place.column = tk.Position.Line, tk.Position.Column
	}
	switch k := key.(type) {
	case *ast.MergeKeyNode:
		r.ps.at(place, "the merge key << is not taken: write the keys out, or use $ref and $defs in a schema")
		return
	case *ast.StringNode:
		place.text = k.Value
	case ast.ScalarNode:
		// A key such as 1 or true is its text: JSON has no other keys.
		place.text = k.GetToken().Value
	default:
		r.ps.at(place, "expected a key that is text")
		return
	}
	out.keys = append(out.keys, place)
	value := r.read(pair.Value, depth+1)
	if value.line == 0 {
		value.line, value.column = place.line, place.column
	}
	out.items = append(out.items, value)
}

var (
	jsonNumber  = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	yamlInteger = regexp.MustCompile(`^[+-]?(0x[0-9A-Fa-f_]+|0o[0-7_]+|0b[01_]+|[1-9][0-9_]*|0)$`)
	yamlFloat   = regexp.MustCompile(`^([+-]?)([0-9][0-9_]*)?(\.[0-9_]*)?([eE][+-]?[0-9]+)?$`)
)

// number writes a YAML number as JSON writes it, without loss.
func (r *yamlReader) number(out *node, text string) {
	out.kind = kindNumber
	switch {
	case jsonNumber.MatchString(text):
		out.text = text
	case yamlInteger.MatchString(text):
		i, ok := new(big.Int).SetString(strings.TrimPrefix(strings.ReplaceAll(text, "_", ""), "+"), 0)
		if ok {
			out.text = i.String()
		}
	case yamlFloat.MatchString(text) && strings.ContainsAny(text, ".eE"):
		out.text = jsonFloat(yamlFloat.FindStringSubmatch(strings.ReplaceAll(text, "_", "")))
	}
	if !jsonNumber.MatchString(out.text) {
		r.ps.at(out, "expected a number without leading zeros, found %s: quote it if it is text", shorten(text))
		out.text = "0"
		return
	}
	if why := checkNumber(out.text); why != "" {
		r.ps.at(out, "expected %s, found %s", why, shorten(out.text))
		out.text = "0"
	}
}

// jsonFloat puts together sign, whole, fraction and exponent of a YAML float.
func jsonFloat(parts []string) string {
	sign, whole, fraction, exponent := strings.TrimPrefix(parts[1], "+"), parts[2], parts[3], parts[4]
	if whole == "" {
		whole = "0"
	}
	if fraction == "." {
		fraction = ""
	}
	return sign + whole + fraction + exponent
}

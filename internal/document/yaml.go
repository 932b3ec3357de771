package document

import (
	"bytes"
	"errors"
	"io"
	"math/big"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// yamlReader makes nodes of the library's, with the aliases replaced by what they stand
// for, and scalars read by YAML 1.2's core schema.
type yamlReader struct {
	ps *Problems
	// open are the anchors that are being read, against one that holds itself.
	open   map[*yaml.Node]bool
	values int
	bytes  int // of text
}

// directive is one that says what is read here anyway: the library refuses it.
var directive = regexp.MustCompile(`\A%(YAML 1\.[0-9])`)

// ParseYAML reads the one document of a YAML text. What is wrong goes to ps; the result
// is nil where nothing can be read, or where the text has only comments.
func ParseYAML(ps *Problems, data []byte) *Node {
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	if !checkText(ps, data) {
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(directive.ReplaceAll(data, []byte("#$1"))), yaml.WithAllDocuments())
	if err != nil {
		panic(err) // the options are ours
	}
	var doc, second yaml.Node
	err = loader.Load(&doc)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		err = loader.Load(&second)
	}
	switch {
	case err == nil:
		ps.At(&Node{Line: second.Line, Column: second.Column}, "", "a second YAML document begins here: expected one a file")
		return nil
	case !errors.Is(err, io.EOF):
		place := &Node{Line: 1, Column: 1}
		var syntax *yaml.LoadError
		text := "expected valid YAML: " + err.Error()
		if errors.As(err, &syntax) {
			text = strings.TrimSpace("expected valid YAML: " + syntax.Message + " " + syntax.ContextMsg)
			if strings.HasPrefix(syntax.Message, "exceeded max depth") {
				text = errTooDeep.Error()
			}
			if syntax.Mark.Line > 0 {
				place = &Node{Line: syntax.Mark.Line, Column: max(syntax.Mark.Column, 1)}
			}
		}
		ps.At(place, "", "%s", Cut(OneLine(text), 300))
		return nil
	}
	r := &yamlReader{ps: ps, open: make(map[*yaml.Node]bool)}
	before := len(ps.List)
	n := r.read(doc.Content[0], 0)
	if n == nil || n.Kind == Null && len(ps.List) == before {
		return nil
	}
	n.finish(ps, nil)
	return n
}

// read is nil where there is too much to read, which was told.
func (r *yamlReader) read(y *yaml.Node, depth int) *Node {
	n := &Node{Line: y.Line, Column: y.Column}
	if r.values++; r.values > MaxValues {
		r.ps.At(n, "", "%v", errTooMuch)
		return nil
	}
	if depth > MaxDepth || depth == MaxDepth && y.Kind != yaml.ScalarNode {
		r.ps.At(n, "", "%v", errTooDeep)
		return nil
	}
	if y.Kind == yaml.AliasNode {
		if r.open[y.Alias] {
			r.ps.At(n, "", "the alias *%s stands within its own anchor", Short(y.Value))
			return n
		}
		return r.read(y.Alias, depth+1)
	}
	if y.Anchor != "" {
		r.open[y] = true
		defer delete(r.open, y)
	}
	tagged := y.Style&yaml.TaggedStyle != 0
	if tagged && (y.Tag != "!!str" || y.Kind != yaml.ScalarNode) {
		r.ps.At(n, "", "the tag %s is not known: expected plain YAML, or !!str", Short(y.Tag))
		return n
	}
	switch y.Kind {
	case yaml.ScalarNode:
		if r.bytes += len(y.Value); r.bytes > maxText {
			r.ps.At(n, "", "expected at most %d bytes of text, aliases replaced, found more", maxText)
			return nil
		}
		n.Kind, n.Text = String, y.Value
		if !tagged && y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
			r.plain(n)
		}
	case yaml.SequenceNode:
		n.Kind = List
		for _, item := range y.Content {
			value := r.read(item, depth+1)
			if value == nil {
				return nil
			}
			n.Items = append(n.Items, value)
		}
	case yaml.MappingNode:
		n.Kind = Mapping
		for i := 0; i+1 < len(y.Content); i += 2 {
			value := r.read(y.Content[i+1], depth+1)
			if value == nil {
				return nil
			}
			if key := r.key(y.Content[i]); key != nil {
				n.Keys, n.Items = append(n.Keys, key), append(n.Items, value)
			}
		}
	}
	return n
}

// key reads the key of a mapping. One such as 1 or true is its text: JSON has no others.
func (r *yamlReader) key(y *yaml.Node) *Node {
	key := &Node{Kind: String, Line: y.Line, Column: y.Column}
	if y.Kind == yaml.AliasNode {
		y = y.Alias
	}
	switch {
	case y.Kind != yaml.ScalarNode:
		r.ps.At(key, "", "expected a key that is text")
		return nil
	case y.Tag == "!!merge":
		r.ps.At(key, "", "the merge key << is not taken: write the keys out, or use $ref and $defs in a schema")
		return nil
	}
	key.Text = y.Value
	return key
}

var (
	jsonNumber  = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	yamlInteger = regexp.MustCompile(`^[+-]?(0x[0-9A-Fa-f_]+|0o[0-7_]+|0b[01_]+|[0-9][0-9_]*)$`)
	yamlFloat   = regexp.MustCompile(`^([+-]?)([0-9][0-9_]*)?(\.[0-9_]*)?([eE][+-]?[0-9]+)?$`)
	notNumber   = regexp.MustCompile(`^([+-]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
)

// plain reads a plain scalar: what it is follows from its text. Dates are strings.
func (r *yamlReader) plain(n *Node) {
	switch text := n.Text; {
	case text == "", text == "~", text == "null", text == "Null", text == "NULL":
		n.Kind, n.Text = Null, ""
	case text == "true", text == "True", text == "TRUE", text == "false", text == "False", text == "FALSE":
		n.Kind, n.Text = Bool, strings.ToLower(text)
	case jsonNumber.MatchString(text):
		n.Kind = Number
	case yamlInteger.MatchString(text):
		i, ok := new(big.Int).SetString(strings.TrimPrefix(strings.ReplaceAll(text, "_", ""), "+"), 0)
		if digits := strings.TrimLeft(text, "+-"); !ok || digits[0] == '0' && strings.Trim(digits[1:], "0123456789_") == "" {
			r.noNumber(n)
			return
		}
		n.Kind, n.Text = Number, i.String()
	case text != "." && yamlFloat.MatchString(text) && strings.ContainsAny(text, ".eE"):
		n.Kind, n.Text = Number, jsonFloat(yamlFloat.FindStringSubmatch(strings.ReplaceAll(text, "_", "")))
		if !jsonNumber.MatchString(n.Text) {
			n.Kind, n.Text = String, text
			if text[0] == '0' {
				r.noNumber(n)
			}
		}
	case notNumber.MatchString(text):
		r.noNumber(n)
	}
}

func (r *yamlReader) noNumber(n *Node) {
	r.ps.At(n, "", "expected a number as JSON writes it, without leading zeros, found %s: quote it if it is text", Short(n.Text))
}

// jsonFloat puts together sign, whole, fraction and exponent of a YAML float.
func jsonFloat(parts []string) string {
	sign, whole, fraction, exponent := strings.TrimPrefix(parts[1], "+"), parts[2], parts[3], parts[4]
	if whole == "" && len(fraction) > 1 {
		whole = "0"
	}
	if fraction == "." {
		fraction = ""
	}
	return sign + whole + fraction + exponent
}

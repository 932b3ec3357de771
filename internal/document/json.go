package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// jsonReader makes nodes of a text that is valid JSON, with their places.
type jsonReader struct {
	data   []byte
	values int
	// line, lineStart and seen follow the offset, so that finding the places of
	// all nodes takes one walk through the text.
	line, lineStart, seen int
}

// ParseJSON reads the one value of a JSON text. What is wrong goes to ps; the result is
// nil where nothing can be read. A byte order mark is skipped.
func ParseJSON(ps *Problems, data []byte) *Node {
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	if !checkText(ps, data) {
		return nil
	}
	if !json.Valid(data) {
		var raw json.RawMessage
		tellSyntax(ps, data, json.Unmarshal(data, &raw))
		return nil
	}
	r := &jsonReader{data: data, line: 1}
	n, err := r.value(gjson.ParseBytes(data), 0)
	if err != nil {
		ps.At(&Node{Line: r.line, Column: 1}, "", "%v", err)
		return nil
	}
	n.finish(ps, nil)
	return n
}

// tellSyntax tells of a text that is no JSON.
func tellSyntax(ps *Problems, data []byte, err error) {
	text, offset := Cut(OneLine(err.Error()), 300), len(data)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = int(syntax.Offset) - 1
	}
	switch {
	case strings.HasPrefix(text, "unexpected end"):
		text, offset = "expected more JSON, found the end of the text", len(data)
	case strings.HasSuffix(text, "exceeded max depth"):
		text = errTooDeep.Error()
	case strings.HasSuffix(text, "after top-level value"):
		text = "expected one JSON value, found more text behind it"
	default:
		text = "expected valid JSON, found " + text
	}
	ps.At(placeOf(data, offset), "", "%s", text)
}

// place starts a node at a byte offset, which is behind those before.
func (r *jsonReader) place(offset int) *Node {
	for ; r.seen < offset; r.seen++ {
		if r.data[r.seen] == '\n' {
			r.line, r.lineStart = r.line+1, r.seen+1
		}
	}
	return &Node{Line: r.line, Column: utf8.RuneCount(r.data[r.lineStart:min(offset, r.lineStart+1000)]) + 1}
}

func (r *jsonReader) value(v gjson.Result, depth int) (*Node, error) {
	n := r.place(v.Index)
	if r.values++; r.values > MaxValues {
		return nil, errTooMuch
	}
	switch v.Type {
	case gjson.True, gjson.False:
		n.Kind, n.Text = Bool, v.Raw
	case gjson.Number:
		n.Kind, n.Text = Number, v.Raw
	case gjson.String:
		n.Kind, n.Text = String, unquoted(v.Raw)
	case gjson.JSON:
		if depth >= MaxDepth {
			return nil, errTooDeep
		}
		if n.Kind = List; v.IsObject() {
			n.Kind = Mapping
		}
		return n, r.children(n, v, depth)
	}
	return n, nil
}

// What is too much to be read. For YAML that is with its aliases replaced.
var (
	errTooMuch = fmt.Errorf("expected at most %d values in all, found more", MaxValues)
	errTooDeep = fmt.Errorf("expected at most %d levels of nesting, found more", MaxDepth)
)

func (r *jsonReader) children(n *Node, v gjson.Result, depth int) (err error) {
	v.ForEach(func(k, item gjson.Result) bool {
		if n.Kind == Mapping {
			key := r.place(k.Index)
			key.Kind, key.Text = String, unquoted(k.Raw)
			n.Keys = append(n.Keys, key)
		}
		var child *Node
		if child, err = r.value(item, depth+1); err == nil {
			n.Items = append(n.Items, child)
		}
		return err == nil
	})
	return err
}

// unquoted is the value of a string of JSON.
func unquoted(raw string) string {
	if strings.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	var s string
	_ = json.Unmarshal([]byte(raw), &s) // it is part of a text that is valid
	return s
}

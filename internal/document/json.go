package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// jsonReader makes nodes of JSON with their places.
type jsonReader struct {
	data   []byte
	dec    *json.Decoder
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
	r := &jsonReader{data: data, dec: json.NewDecoder(bytes.NewReader(data)), line: 1}
	r.dec.UseNumber()
	n, err := r.value(0)
	if err == nil {
		if _, err = r.dec.Token(); errors.Is(err, io.EOF) {
			n.finish(ps, "")
			return n
		}
		err = errors.New("expected one JSON value, found more text behind it")
	}
	offset := int(r.dec.InputOffset())
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = int(syntax.Offset) - 1
		// Between tokens the offset is that of the character itself.
		if next := offset + 1; next < len(data) && strings.HasPrefix(syntax.Error(), fmt.Sprintf("invalid character '%c'", data[next])) {
			offset = next
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("expected more JSON, found the end of the text")
	}
	text := Cut(OneLine(err.Error()), 300)
	if !strings.HasPrefix(text, "expected ") {
		text = "expected valid JSON, found " + strings.TrimPrefix(text, "json: ")
	}
	ps.At(placeOf(data, offset), "", "%s", text)
	return nil
}

// place starts a node where the next token begins.
func (r *jsonReader) place() *Node {
	for i := int(r.dec.InputOffset()); i < len(r.data); i++ {
		if !strings.ContainsRune(" \t\r\n,:", rune(r.data[i])) {
			for ; r.seen < i; r.seen++ {
				if r.data[r.seen] == '\n' {
					r.line, r.lineStart = r.line+1, r.seen+1
				}
			}
			return &Node{Line: r.line, Column: utf8.RuneCount(r.data[r.lineStart:min(i, r.lineStart+1000)]) + 1}
		}
	}
	return &Node{Line: r.line, Column: 1}
}

func (r *jsonReader) value(depth int) (*Node, error) {
	n := r.place()
	if r.values++; r.values > MaxValues {
		return nil, errTooMuch
	}
	token, err := r.dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case bool:
		n.Kind, n.Text = Bool, fmt.Sprint(t)
	case string:
		n.Kind, n.Text = String, t
	case json.Number:
		n.Kind, n.Text = Number, t.String()
	case json.Delim:
		if depth >= MaxDepth {
			return nil, errTooDeep
		}
		n.Kind = List
		if t == '{' {
			n.Kind = Mapping
		}
		return n, r.children(n, depth)
	}
	return n, nil
}

// What is too much to be read. For YAML that is with its aliases replaced.
var (
	errTooMuch = fmt.Errorf("expected at most %d values in all, found more", MaxValues)
	errTooDeep = fmt.Errorf("expected at most %d levels of nesting, found more", MaxDepth)
)

func (r *jsonReader) children(n *Node, depth int) error {
	for r.dec.More() {
		if n.Kind == Mapping {
			key := r.place()
			token, err := r.dec.Token()
			if err != nil {
				return err
			}
			key.Kind, key.Text = String, fmt.Sprint(token)
			n.Keys = append(n.Keys, key)
		}
		item, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		n.Items = append(n.Items, item)
	}
	_, err := r.dec.Token()
	return err
}

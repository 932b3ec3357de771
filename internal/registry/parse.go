package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// Bounds of a manifest or schema file. An operator writes these files, but a
// slip (a huge file, an alias bomb) must not take a running worker down.
const (
	maxFileBytes = 1 << 20
	maxNodes     = 50_000
	maxDepth     = 200
)

// parseFile parses a schema file by the ending of its name: .json, else YAML.
func parseFile(ps *problems, name string, data []byte) *node {
	if strings.EqualFold(filepath.Ext(name), ".json") {
		return parseJSON(ps, data)
	}
	return parseYAML(ps, data)
}

// checkText refuses what neither format takes.
func checkText(ps *problems, data []byte) bool {
	if len(bytes.TrimSpace(data)) == 0 {
		ps.add(1, 1, "the file is empty")
		return false
	}
	if !utf8.Valid(data) {
		for i := 0; i < len(data); {
			r, size := utf8.DecodeRune(data[i:])
			if r == utf8.RuneError && size == 1 {
				line, column := position(data, i)
				ps.add(line, column, "the text is not valid UTF-8")
				return false
			}
			i += size
		}
	}
	return true
}

// position gives line and column, in characters, of a byte offset.
func position(data []byte, offset int) (line, column int) {
	before := data[:min(max(offset, 0), len(data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte{'\n'}) + 1, utf8.RuneCount(before[start:]) + 1
}

// jsonParser makes nodes of JSON with their places.
type jsonParser struct {
	ps    *problems
	data  []byte
	dec   *json.Decoder
	nodes int
	// line, lineStart and seen follow the offset, so that finding the places of
	// all nodes takes one walk through the text.
	line, lineStart, seen int
}

func parseJSON(ps *problems, data []byte) *node {
	if !checkText(ps, data) {
		return nil
	}
	p := &jsonParser{ps: ps, data: data, dec: json.NewDecoder(bytes.NewReader(data)), line: 1}
	p.dec.UseNumber()
	n, err := p.value(0)
	if err == nil {
		if _, err = p.dec.Token(); errors.Is(err, io.EOF) {
			n.duplicates(ps)
			return n
		}
		err = errors.New("expected one JSON value, found more text behind it")
	}
	offset := int(p.dec.InputOffset())
	var se *json.SyntaxError
	if errors.As(err, &se) {
		offset = int(se.Offset) - 1
		// Between tokens the offset is that of the character itself.
		if next := offset + 1; next < len(data) && strings.HasPrefix(se.Error(), fmt.Sprintf("invalid character '%c'", data[next])) {
			offset = next
		}
	}
	line, column := position(data, offset)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("expected more JSON, found the end of the text")
	}
	ps.add(line, column, "not valid JSON: "+err.Error())
	return nil
}

// place starts a node where the next token begins.
func (p *jsonParser) place() *node {
	for i := int(p.dec.InputOffset()); i < len(p.data); i++ {
		if !strings.ContainsRune(" \t\r\n,:", rune(p.data[i])) {
			for ; p.seen < i; p.seen++ {
				if p.data[p.seen] == '\n' {
					p.line, p.lineStart = p.line+1, p.seen+1
				}
			}
			return &node{line: p.line, column: utf8.RuneCount(p.data[p.lineStart:min(i, p.lineStart+1000)]) + 1}
		}
	}
	return &node{line: p.line, column: 1}
}

func (p *jsonParser) value(depth int) (*node, error) {
	n := p.place()
	if p.nodes++; p.nodes > maxNodes || depth > maxDepth {
		return nil, fmt.Errorf("expected at most %d values and %d levels", maxNodes, maxDepth)
	}
	token, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case nil:
		n.kind = kindNull
	case bool:
		n.kind, n.text = kindBool, fmt.Sprint(t)
	case string:
		n.kind, n.text = kindString, t
	case json.Number:
		n.kind, n.text = kindNumber, t.String()
		if why := checkNumber(n.text); why != "" {
			return nil, fmt.Errorf("expected %s, found %s", why, shorten(n.text))
		}
	case json.Delim:
		n.kind = kindArray
		if t == '{' {
			n.kind = kindObject
		}
		return n, p.children(n, depth)
	}
	return n, nil
}

func (p *jsonParser) children(n *node, depth int) error {
	for p.dec.More() {
		if n.kind == kindObject {
			key := p.place()
			token, err := p.dec.Token()
			if err != nil {
				return err
			}
			key.kind, key.text = kindString, fmt.Sprint(token)
			n.keys = append(n.keys, key)
		}
		item, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
	}
	_, err := p.dec.Token()
	return err
}

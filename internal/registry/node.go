package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

type kind int

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

func (k kind) String() string {
	return [...]string{"null", "a boolean", "a number", "a string", "a list", "a mapping"}[k]
}

// node is a value of a manifest or schema file with its place. YAML and JSON
// files both become nodes, and everything behind works on these alone.
type node struct {
	kind         kind
	line, column int
	// text is a string's value, a number as JSON writes it, or true or false.
	text string
	// keys and items belong together in a mapping; a list has items only.
	keys  []*node
	items []*node
}

func (n *node) get(key string) *node {
	if n == nil || n.kind != kindObject {
		return nil
	}
	for i, k := range n.keys {
		if k.text == key {
			return n.items[i]
		}
	}
	return nil
}

// at finds the deepest node on the way of a JSON pointer, for the place of an
// error. It falls back to the node where the way ends.
func (n *node) at(pointer string) *node {
	for _, token := range strings.Split(strings.TrimPrefix(pointer, "/"), "/") {
		token = unescapePointer(token)
		var next *node
		switch n.kind {
		case kindObject:
			next = n.get(token)
		case kindArray:
			if i, err := strconv.Atoi(token); err == nil && i >= 0 && i < len(n.items) {
				next = n.items[i]
			}
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// describe says what was found, short enough for one line.
func (n *node) describe() string {
	switch n.kind {
	case kindString:
		return "the string " + quoteShort(n.text)
	case kindNumber:
		return "the number " + shorten(n.text)
	case kindBool:
		return n.text
	case kindNull:
		return "nothing"
	default:
		return n.kind.String()
	}
}

// json writes the value with its keys in their order and its numbers as they
// are.
func (n *node) json() json.RawMessage {
	var b bytes.Buffer
	n.write(&b)
	return b.Bytes()
}

func (n *node) write(b *bytes.Buffer) {
	switch n.kind {
	case kindNull:
		b.WriteString("null")
	case kindBool, kindNumber:
		b.WriteString(n.text)
	case kindString:
		writeString(b, n.text)
	case kindArray:
		b.WriteByte('[')
		for i, item := range n.items {
			if i > 0 {
				b.WriteByte(',')
			}
			item.write(b)
		}
		b.WriteByte(']')
	case kindObject:
		b.WriteByte('{')
		for i, item := range n.items {
			if i > 0 {
				b.WriteByte(',')
			}
			writeString(b, n.keys[i].text)
			b.WriteByte(':')
			item.write(b)
		}
		b.WriteByte('}')
	}
}

func writeString(b *bytes.Buffer, s string) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes, and a Buffer takes it
	b.Truncate(b.Len() - 1)
}

// duplicates tells of keys that stand twice in one mapping, anywhere below.
func (n *node) duplicates(ps *problems) {
	seen := make(map[string]*node, len(n.keys))
	for _, k := range n.keys {
		if first := seen[k.text]; first != nil {
			ps.at(k, "the key %s stands twice, first in line %d: expected each key once", quoteShort(k.text), first.line)
			continue
		}
		seen[k.text] = k
	}
	for _, item := range n.items {
		item.duplicates(ps)
	}
}

// unescapePointer gives the key that a token of a JSON pointer stands for.
func unescapePointer(token string) string {
	return strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
}

// maxShown is the length in bytes that a value of a message is cut to.
const maxShown = 60

// shorten cuts s to maxShown bytes, between characters, without invalid UTF-8.
func shorten(s string) string {
	if len(s) > maxShown {
		cut := maxShown
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func quoteShort(s string) string {
	cut := shorten(s)
	if body, ok := strings.CutSuffix(cut, "…"); ok && len(s) > maxShown {
		return fmt.Sprintf("%q…", body)
	}
	return fmt.Sprintf("%q", cut)
}

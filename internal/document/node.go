package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kind is what a value is, in JSON's terms.
type Kind int

// The kinds of values. A scalar of YAML that JSON can't write is a String.
const (
	Null Kind = iota
	Bool
	Number
	String
	List
	Mapping
)

// String names the kind as JSON Schema does.
func (k Kind) String() string {
	return [...]string{"null", "boolean", "number", "string", "array", "object"}[k]
}

// A Node is a value of a file with its place. Aliases of YAML are replaced by what they
// stand for, so that YAML and JSON look alike. It is not changed once it was read; a nil
// Node is a value that is not there.
type Node struct {
	Kind Kind
	// Line and Column begin at 1; Column counts characters.
	Line, Column int
	// Text is a string's value, a number as JSON writes it, or true or false.
	Text string
	// Keys and Items belong together in a mapping; a list has Items alone.
	Keys, Items []*Node
}

// Get is the value of a key; nil where there is none, or n is no mapping.
func (n *Node) Get(key string) *Node {
	if k := n.key(key); k >= 0 {
		return n.Items[k]
	}
	return nil
}

// Key is the node of a key itself, for its place; nil where there is none.
func (n *Node) Key(key string) *Node {
	if k := n.key(key); k >= 0 {
		return n.Keys[k]
	}
	return nil
}

func (n *Node) key(key string) int {
	if n != nil && n.Kind == Mapping {
		for i, k := range n.Keys {
			if k.Text == key {
				return i
			}
		}
	}
	return -1
}

// At is the deepest node on the way of a JSON pointer (RFC 6901), for the place of an
// error.
func (n *Node) At(pointer string) *Node {
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		next := n.Get(Unescape(token))
		if i, err := strconv.Atoi(token); n.Kind == List && err == nil && i >= 0 && i < len(n.Items) {
			next = n.Items[i]
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// Key is a JSON pointer as messages have it: handler.exec.pass_env[0].
func Key(pointer string) string {
	var key strings.Builder
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if _, err := strconv.Atoi(token); err == nil {
			key.WriteString("[" + token + "]")
			continue
		}
		if key.Len() > 0 {
			key.WriteByte('.')
		}
		key.WriteString(OneLine(Short(Unescape(token))))
	}
	return key.String()
}

// Below is the pointer of what a mapping holds under a key.
func Below(pointer, key string) string { return pointer + "/" + Escape(key) }

// Unescape is the key that a token of a JSON pointer stands for; Escape the other way.
func Unescape(token string) string {
	return strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
}

// Escape is the token of a JSON pointer for a key.
func Escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

// Value is the value as encoding/json decodes it, with [json.Number] for numbers.
func (n *Node) Value() any {
	switch n.Kind {
	case Bool:
		return n.Text == "true"
	case Number:
		return json.Number(n.Text)
	case String:
		return n.Text
	case List:
		list := make([]any, len(n.Items))
		for i, item := range n.Items {
			list[i] = item.Value()
		}
		return list
	case Mapping:
		object := make(map[string]any, len(n.Items))
		for i, item := range n.Items {
			object[n.Keys[i].Text] = item.Value()
		}
		return object
	}
	return nil
}

// JSON is the value as JSON, its keys in their order and its numbers as they are.
func (n *Node) JSON() json.RawMessage {
	var b bytes.Buffer
	n.write(&b)
	return b.Bytes()
}

func (n *Node) write(b *bytes.Buffer) {
	switch n.Kind {
	case Null:
		b.WriteString("null")
	case Bool, Number:
		b.WriteString(n.Text)
	case String:
		writeString(b, n.Text)
	case List:
		b.WriteByte('[')
		for i, item := range n.Items {
			if i > 0 {
				b.WriteByte(',')
			}
			item.write(b)
		}
		b.WriteByte(']')
	case Mapping:
		b.WriteByte('{')
		for i, item := range n.Items {
			if i > 0 {
				b.WriteByte(',')
			}
			writeString(b, n.Keys[i].Text)
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

// Describe says what a value is, as [Node.Value] gives it: its type, and the value of
// a scalar, short enough for one line.
func Describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return fmt.Sprintf("boolean %t", v)
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return "number " + Short(v.String())
		}
		return "integer " + Short(v.String())
	case string:
		return "string " + Quote(v)
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return fmt.Sprintf("%T", v)
}

// maxShown is the length in bytes that a value of a message is cut to.
const maxShown = 60

// Short cuts s for a message, between characters, and makes it valid UTF-8.
func Short(s string) string { return Cut(s, maxShown) }

// Cut cuts s to most bytes, between characters, and makes it valid UTF-8.
func Cut(s string, most int) string {
	if len(s) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// Quote is s in quotes for a message, cut as [Short] does.
func Quote(s string) string {
	cut := Short(s)
	if body, ok := strings.CutSuffix(cut, "…"); ok && len(s) > maxShown {
		return fmt.Sprintf("%q…", body)
	}
	return fmt.Sprintf("%q", cut)
}

// OneLine takes line ends and control characters out of a text.
func OneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

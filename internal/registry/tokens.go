package registry

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
)

// tokens is what [json.Decoder] is used for here: the tokens of a text, numbers
// as they are written. Commas and colons are none.
type tokens interface {
	Token() (json.Token, error)
	More() bool
	InputOffset() int64
}

// tokensOf gives the tokens of text. A json.Decoder says best where a text is
// wrong, but takes four allocations for a token; one that is right is cut by
// validTokens.
func tokensOf(text []byte) tokens {
	if json.Valid(text) {
		return &validTokens{text: text}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d
}

// validTokens cuts a text that is known to be valid JSON.
type validTokens struct {
	text []byte
	at   int
}

func (t *validTokens) InputOffset() int64 { return int64(t.at) }

func (t *validTokens) More() bool {
	t.skip()
	return t.at < len(t.text) && t.text[t.at] != ']' && t.text[t.at] != '}'
}

// skip goes to the next token.
func (t *validTokens) skip() {
	for t.at < len(t.text) {
		switch t.text[t.at] {
		case ' ', '\t', '\r', '\n', ',', ':':
			t.at++
		default:
			return
		}
	}
}

func (t *validTokens) Token() (json.Token, error) {
	t.skip()
	if t.at >= len(t.text) {
		return nil, io.EOF
	}
	begin := t.at
	switch c := t.text[t.at]; c {
	case '{', '}', '[', ']':
		t.at++
		return json.Delim(c), nil
	case '"':
		return t.quoted()
	default:
		for t.at < len(t.text) && strings.IndexByte(" \t\r\n,]}", t.text[t.at]) < 0 {
			t.at++
		}
	}
	switch word := string(t.text[begin:t.at]); word {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "null":
		return nil, nil
	default:
		return json.Number(word), nil
	}
}

// quoted takes a string. What has escapes, or bytes that may be no UTF-8, is left
// to the json package.
func (t *validTokens) quoted() (json.Token, error) {
	begin, plain := t.at, true
	for t.at++; t.text[t.at] != '"'; t.at++ {
		switch c := t.text[t.at]; {
		case c == '\\':
			plain = false
			t.at++ // what is escaped may be a quote
		case c >= 0x80:
			plain = false
		}
	}
	t.at++
	if plain {
		return string(t.text[begin+1 : t.at-1]), nil
	}
	var s string
	err := json.Unmarshal(t.text[begin:t.at], &s)
	return s, err
}

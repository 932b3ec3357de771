package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// timeLayout is RFC 3339 with the microseconds that processed_at counts in.
const timeLayout = "2006-01-02T15:04:05.000000Z07:00"

// object builds a JSON object from names and values, in the given order. A
// json.RawMessage is taken byte for byte, which json.Marshal would not do: an
// input must reach the client as the agent wrote it. A zero time is null.
func object(pairs ...any) json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	for i := 0; i+1 < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		writeValue(&b, pairs[i])
		b.WriteByte(':')
		writeValue(&b, pairs[i+1])
	}
	b.WriteByte('}')
	return b.Bytes()
}

func writeValue(b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case string:
		if !plain(v) {
			b.Write(encode(v))
			return
		}
		b.WriteByte('"')
		b.WriteString(v)
		b.WriteByte('"')
	case json.RawMessage:
		if len(v) == 0 {
			b.WriteString("null")
			return
		}
		b.Write(v)
	case time.Time:
		if v.IsZero() {
			b.WriteString("null")
			return
		}
		writeValue(b, v.UTC().Format(timeLayout))
	default:
		b.Write(encode(v))
	}
}

// plain reports whether a string needs no escapes, as nearly all here.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// encode is json.Marshal without the escaping of <, > and &. It is given
// values of this package's own making, which always encode.
func encode(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("sim: encode %T: %v", v, err))
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// list joins encoded values to a JSON array.
func list(items []json.RawMessage) json.RawMessage {
	return json.RawMessage("[" + string(bytes.Join(rawSlices(items), []byte(","))) + "]")
}

func rawSlices(items []json.RawMessage) [][]byte {
	out := make([][]byte, len(items))
	for i, it := range items {
		out[i] = it
	}
	return out
}

// textBlocks is the content of a message: one text block.
func textBlocks(text string) json.RawMessage {
	return list([]json.RawMessage{object("type", "text", "text", text)})
}

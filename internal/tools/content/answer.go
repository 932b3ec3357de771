package content

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"toolhand/internal/tools"
)

// MaxStructured is the size in bytes of the largest answer that is taken as
// content blocks. A larger one is an error result.
const MaxStructured = 8 << 20

// NoOutput is the text of a result that would otherwise be empty: the API
// refuses empty text.
const NoOutput = "(no output)"

// DefaultMax is the bound of a result's text, in bytes, where a manifest
// names none.
const DefaultMax = 256 << 10

// Text makes a result of one text block. An empty text becomes [NoOutput].
func Text(s string) tools.Result {
	return tools.Result{Content: Encode([]any{TextBlock(Valid([]byte(s)))})}
}

// Error makes a result of one text block that reports to the agent that the
// tool failed.
func Error(text string) tools.Result {
	r := Text(text)
	r.IsError = true
	return r
}

// Bytes is the size of a result's text in bytes, for logs.
func Bytes(r tools.Result) int {
	var blocks []map[string]any
	if json.Unmarshal(r.Content, &blocks) != nil {
		return 0
	}
	n := 0
	for _, s := range texts(blocks) {
		n += len(s.text())
	}
	return n
}

// structured makes a result of an answer in blocks, and reports whether raw is one. If it
// is not, misfit says why, where it was meant to be one. raw is valid UTF-8.
func structured(raw []byte, max int) (r tools.Result, misfit string, ok bool) {
	if !json.Valid(raw) {
		if beginsStructured(raw) {
			misfit = "it is not valid JSON, or more follows it"
		}
		return r, misfit, false
	}
	members, wrong := object(gjson.ParseBytes(raw))
	content, isError := members["content"], members["is_error"]
	if wrong == "" {
		if wrong = arrayOf(oneOf(blockForms()))(content); wrong != "" {
			wrong = ".content" + wrong
		} else if isError.Exists() && !isBool(isError) && !isNull(isError) {
			wrong = ".is_error: expected true or false"
		}
	}
	if wrong == "" {
		return tools.Result{Content: Bounded(content, max), IsError: isError.Bool()}, "", true
	}
	if meantAsBlocks(members) {
		misfit = strings.TrimPrefix(wrong, ".")
	}
	return r, misfit, false
}

// Bounded is content as it is where nothing need be changed. Else it is written
// anew: nothing but strings, booleans and null is in a valid block, so that this
// loses nothing.
func Bounded(content gjson.Result, max int) json.RawMessage {
	total, blocks, empty := 0, 0, false
	count := func(text gjson.Result) {
		total += len(text.Str)
		empty = empty || text.Str == ""
	}
	content.ForEach(func(_, block gjson.Result) bool {
		blocks++
		switch block.Get("type").Str {
		case "text":
			count(block.Get("text"))
		case "search_result":
			block.Get("content").ForEach(func(_, item gjson.Result) bool { count(item.Get("text")); return true })
		}
		return true
	})
	if blocks == 0 {
		return Text("").Content
	}
	if !empty && total <= max && !hasSurrogate(content.Raw) {
		return json.RawMessage(content.Raw)
	}
	return rewritten(content, max)
}

func rewritten(content gjson.Result, max int) json.RawMessage {
	var blocks []map[string]any
	if err := json.Unmarshal([]byte(content.Raw), &blocks); err != nil {
		panic(err) // it was found to be valid
	}
	all, total := texts(blocks), 0
	for _, s := range all {
		if s.text() == "" {
			s.set(NoOutput)
		}
		total += len(s.text())
	}
	if total > max {
		cutAll(all, total, max)
		blocks = withoutEmpty(blocks)
	}
	return Encode(blocks)
}

// Shorten cuts the text of a result that is too large for where it has to go, as
// [Common.MaxResultBytes] does, so that its content has at most size bytes. It
// reports whether it could: images and documents are never cut, and what fits
// already is not what was refused.
func Shorten(r tools.Result, size int) (tools.Result, bool) {
	if len(r.Content) <= size || !json.Valid(r.Content) {
		return tools.Result{}, false
	}
	content := gjson.ParseBytes(r.Content)
	// What stands around the text stays, and the marker has line ends. A byte of
	// text takes six at most, as an escape: then less of it has room.
	const lineEnds = 16
	for text := max(size-(len(r.Content)-Bytes(r))-lineEnds, size/8); text > 0; text /= 2 {
		if cut := rewritten(content, text); len(cut) <= size {
			return tools.Result{Content: cut, IsError: r.IsError}, true
		}
	}
	return tools.Result{}, false
}

// hasSurrogate reports whether raw may have a \ud800 escape. Half a pair of them
// is no character, and a strict reader refuses the whole send for it.
func hasSurrogate(raw string) bool {
	return strings.Contains(raw, `\ud`) || strings.Contains(raw, `\uD`)
}

// slot is a place in a block where a text stands.
type slot map[string]any

func (s slot) text() string     { t, _ := s["text"].(string); return t }
func (s slot) set(value string) { s["text"] = value }

// texts finds the texts that a reader counts as text: those of text blocks and
// of search results, in order. Documents and images are never cut.
func texts(blocks []map[string]any) []slot {
	var found []slot
	for _, b := range blocks {
		switch b["type"] {
		case "text":
			found = append(found, b)
		case "search_result":
			items, _ := b["content"].([]any)
			for _, item := range items {
				if m, ok := item.(map[string]any); ok {
					found = append(found, m)
				}
			}
		}
	}
	return found
}

// cutAll cuts the texts as if they were one: its beginning and its end stay, the
// marker stands where the beginning ends, and what lies between becomes empty.
func cutAll(all []slot, total, max int) {
	var joined bytes.Buffer
	for _, s := range all {
		joined.WriteString(s.text())
	}
	head, mark, tail := Split(joined.Bytes(), nil, 0, max)
	keepTo, keepFrom, at, marked := len(head), total-len(tail), 0, false
	for _, s := range all {
		text := s.text()
		begin, end := at, at+len(text)
		at = end
		if end <= keepTo && (end < keepTo || marked) || begin >= keepFrom {
			continue
		}
		kept := text[:clamp(keepTo-begin, len(text))]
		if !marked {
			kept += mark
			marked = true
		}
		s.set(kept + text[clamp(keepFrom-begin, len(text)):])
	}
}

func clamp(n, max int) int {
	switch {
	case n < 0:
		return 0
	case n > max:
		return max
	}
	return n
}

// withoutEmpty drops the texts that a cut has left nothing of.
func withoutEmpty(blocks []map[string]any) []map[string]any {
	kept := blocks[:0]
	for _, b := range blocks {
		if b["type"] == "text" && b["text"] == "" {
			continue
		}
		if items, ok := b["content"].([]any); ok {
			full := []any{}
			for _, item := range items {
				if m, ok := item.(map[string]any); ok && m["text"] != "" {
					full = append(full, item)
				}
			}
			b["content"] = full
		}
		kept = append(kept, b)
	}
	return kept
}

// Split finds what is kept of a text too long for max bytes, cut between
// characters: its beginning, the marker, and its end. The text is head, then gap
// bytes that nobody has any more, then tail. Where even the marker has no room,
// as much of the beginning is kept as fits.
func Split(head, tail []byte, gap int64, max int) (begin []byte, mark string, end []byte) {
	all := int64(len(head)) + gap + int64(len(tail))
	room := max - len(marker(all))
	if room < 0 {
		begin = CutAfter(head, max)
		if len(begin) == 0 {
			mark = marker(all)[:max]
		}
		return begin, mark, nil
	}
	begin = CutAfter(head, (room+1)/2)
	rest := tail
	if gap == 0 {
		rest = append(head[len(begin):len(head):len(head)], tail...)
	}
	end = CutBefore(rest, room-len(begin))
	return begin, marker(all - int64(len(begin)) - int64(len(end))), end
}

func marker(n int64) string { return fmt.Sprintf("\n[… %d bytes left out …]\n", n) }

// CutAfter is as much of the beginning of b as max bytes hold in whole
// characters.
func CutAfter(b []byte, max int) []byte {
	if len(b) <= max {
		return b
	}
	for max > 0 && !utf8.RuneStart(b[max]) {
		max--
	}
	return b[:max]
}

// CutBefore is as much of the end of b as max bytes hold in whole characters.
func CutBefore(b []byte, max int) []byte {
	if len(b) <= max {
		return b
	}
	return FromCharacter(b[len(b)-max:])
}

// FromCharacter is b without the rest of a character that it may begin with.
func FromCharacter(b []byte) []byte {
	for i := 0; i < len(b) && i < utf8.UTFMax; i++ {
		if utf8.RuneStart(b[i]) {
			return b[i:]
		}
	}
	if len(b) < utf8.UTFMax {
		return nil
	}
	return b // no character is that long: it isn't UTF-8 at all
}

// Valid is b with U+FFFD in the place of what is not UTF-8.
func Valid(b []byte) []byte { return bytes.ToValidUTF8(b, []byte("\uFFFD")) }

// TextBlock is a text block in the API's form; empty text becomes [NoOutput].
func TextBlock(text []byte) map[string]any {
	if len(text) == 0 {
		text = []byte(NoOutput)
	}
	return map[string]any{"type": "text", "text": string(text)}
}

// Encode writes JSON without the escapes that are meant for HTML: they would
// make six bytes of each <, > and & of a program's source.
func Encode(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // strings, booleans, maps and slices: there is no such value
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

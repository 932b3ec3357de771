package content_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"toolhand/internal/tools/content"
	"toolhand/internal/tools/handlertest"
)

func TestTextAnswers(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"plain", "hello\n", "hello\n"},
		{"nothing", "", "(no output)"},
		{"a number", "9007199254740993", "9007199254740993"},
		{"an array of blocks", `[{"type":"text","text":"a"}]`, `[{"type":"text","text":"a"}]`},
		{"an object", `{"a":9007199254740993}`, `{"a":9007199254740993}`},
		{"content is no array", `{"content":"a"}`, `{"content":"a"}`},
		{"content is null", `{"content":null}`, `{"content":null}`},
		{"one block is wrong", `{"content":[{"type":"text","text":"a"},{"type":"sound"}]}`, `{"content":[{"type":"text","text":"a"},{"type":"sound"}]}`},
		{"is_error is no boolean", `{"content":[{"type":"text","text":"a"}],"is_error":"no"}`, `{"content":[{"type":"text","text":"a"}],"is_error":"no"}`},
		{"two contents", `{"content":[],"content":[]}`, `{"content":[],"content":[]}`},
		{"another case", `{"Content":[]}`, `{"Content":[]}`},
		{"something after it", `{"content":[]} x`, `{"content":[]} x`},
		{"broken off", `{"content":[{"type":"te`, `{"content":[{"type":"te`},
		{"HTML", `<a href="x">&</a>`, `<a href="x">&</a>`},
		{"control characters", "a\x00\x1b[31m\u2028", "a\x00\x1b[31m\u2028"},
		{"a character cut in two", "a\xe2\x82", "a\uFFFD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := answer([]byte(c.raw), false, 0)
			if got := handlertest.Text(t, r); got != c.want || r.IsError {
				t.Errorf("got %q, error %t", got, r.IsError)
			}
			if !answer([]byte(c.raw), true, 0).IsError {
				t.Error("isError is lost")
			}
		})
	}
}

func TestBlockAnswers(t *testing.T) {
	const image = `{"type":"image","source":{"type":"url","url":"https://x/<&>.png"}}`
	for _, c := range []struct {
		name, raw, want string
		isError         bool
	}{
		{"as it is", ` {"content":[ {"text":"<a>","type":"text"}, ` + image + `] }`, `[ {"text":"<a>","type":"text"}, ` + image + `]`, false},
		{"an error", `{"content":[` + image + `],"is_error":true}`, `[` + image + `]`, true},
		{"no error", `{"is_error":null,"content":[` + image + `]}`, `[` + image + `]`, false},
		{"no blocks", `{"content":[]}`, `[{"text":"(no output)","type":"text"}]`, false},
		{"no blocks, an error", `{"content":[],"is_error":true}`, `[{"text":"(no output)","type":"text"}]`, true},
		{"an empty text", `{"content":[{"type":"text","text":""},` + image + `]}`, `[{"text":"(no output)","type":"text"},{"source":{"type":"url","url":"https://x/<&>.png"},"type":"image"}]`, false},
		{"half a surrogate", `{"content":[{"type":"text","text":"a\ud800b"}]}`, "[{\"text\":\"a\uFFFDb\",\"type\":\"text\"}]", false},
		{"a whole surrogate", `{"content":[{"type":"text","text":"\uD83D\uDE00"}]}`, `[{"text":"😀","type":"text"}]`, false},
		{"invalid UTF-8", "{\"content\":[{\"type\":\"text\",\"text\":\"a\xff\"}]}", "[{\"type\":\"text\",\"text\":\"a\uFFFD\"}]", false},
		{"other members", `{"content":[` + image + `],"meta":{"n":1}}`, `[` + image + `]`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := answer([]byte(c.raw), false, 0)
			if string(r.Content) != c.want || r.IsError != c.isError {
				t.Errorf("got  %s, error %t\nwant %s, error %t", r.Content, r.IsError, c.want, c.isError)
			}
		})
	}
}

func TestBlocksAreBoundedBySize(t *testing.T) {
	wrap := func(n int) []byte {
		return fmt.Appendf(nil, `{"content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"%s"}}]}`, strings.Repeat("A", n))
	}
	frame := len(wrap(0))
	whole := answer(wrap(content.MaxStructured-frame), false, 10)
	if whole.IsError || !strings.HasPrefix(string(whole.Content), `[{"type":"image"`) {
		t.Errorf("8 MiB are refused: %.100s", whole.Content)
	}
	for _, max := range []int{100, 20 << 20} {
		more := answer(wrap(content.MaxStructured-frame+1), false, max)
		if got := handlertest.Text(t, more); !more.IsError || !strings.Contains(got, "8388608") {
			t.Errorf("max %d: a byte more gives %.200s, error %t", max, got, more.IsError)
		}
	}
	other := answer([]byte(`{"data":"`+strings.Repeat("A", 9<<20)+`"}`), false, 1000)
	if got := handlertest.Text(t, other); other.IsError || len(got) > 1000 || !strings.HasPrefix(got, `{"data":"A`) || !strings.HasSuffix(got, `A"}`) {
		t.Errorf("an object that is no answer in blocks gives %.200s", got)
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		raw  string
		max  int
		want string
	}{
		{strings.Repeat("a", 100), 100, strings.Repeat("a", 100)},
		{strings.Repeat("a", 50) + strings.Repeat("b", 51), 100, strings.Repeat("a", 35) + "\n[… 31 bytes left out …]\n" + strings.Repeat("b", 35)},
		{"abcdef", 3, "abc"},
		{"äöü", 3, "ä"},
		{"€", 2, "\n["},
		{"0000000000000\xd8000000000\xef00\xef", 32, "00\n[… 31 bytes left out …]\n"}, // the end would be half a character
	} {
		got := handlertest.Text(t, answer([]byte(c.raw), false, c.max))
		if got != c.want {
			t.Errorf("%d of %q:\ngot  %q\nwant %q", c.max, c.raw, got, c.want)
		}
	}
}

func TestCutOfBlocks(t *testing.T) {
	raw := `{"content":[
		{"type":"text","text":"` + strings.Repeat("a", 300) + `"},
		{"type":"image","source":{"type":"file","file_id":"f"}},
		{"type":"text","text":"` + strings.Repeat("b", 300) + `"},
		{"type":"document","source":{"type":"text","media_type":"text/plain","data":"` + strings.Repeat("d", 500) + `"}},
		{"type":"search_result","source":"s","title":"t","citations":{"enabled":true},"content":[
			{"type":"text","text":"` + strings.Repeat("e", 300) + `"},{"type":"text","text":"` + strings.Repeat("f", 100) + `"}]},
		{"type":"text","text":"` + strings.Repeat("c", 10) + `"}]}`
	r := answer([]byte(raw), false, 228)
	marker := "\n[… 813 bytes left out …]\n"
	want := `[{"text":"` + strings.Repeat("a", 99) + strings.ReplaceAll(marker, "\n", `\n`) + `","type":"text"},` +
		`{"source":{"file_id":"f","type":"file"},"type":"image"},` +
		`{"source":{"data":"` + strings.Repeat("d", 500) + `","media_type":"text/plain","type":"text"},"type":"document"},` +
		`{"citations":{"enabled":true},"content":[{"text":"` + strings.Repeat("f", 88) + `","type":"text"}],"source":"s","title":"t","type":"search_result"},` +
		`{"text":"cccccccccc","type":"text"}]`
	if string(r.Content) != want {
		t.Errorf("got  %s\nwant %s", r.Content, want)
	}
	if n := content.Bytes(r); n > 228 || n < 220 {
		t.Errorf("%d bytes of text", n)
	}
}

func TestWorkersOwnResults(t *testing.T) {
	if r := content.Text("a<b"); string(r.Content) != `[{"text":"a<b","type":"text"}]` || r.IsError || content.Bytes(r) != 3 {
		t.Errorf("got %s", r.Content)
	}
	if r := content.Error(""); handlertest.Text(t, r) != content.NoOutput || !r.IsError {
		t.Errorf("got %s", r.Content)
	}
}

// FuzzAnswer checks what must hold of every answer: the content is an array of
// blocks in UTF-8 with no empty text, and the text is within its bound.
func FuzzAnswer(f *testing.F) {
	for _, raw := range []string{"", "x", "ä€😀", "\xff\xfe", `{"content":[]}`, `{"content":[{"type":"text","text":"abcdefgh\ud800"},{"type":"text","text":""}]}`,
		`{"content":[{"type":"search_result","source":"s","title":"t","citations":{"enabled":true},"content":[{"type":"text","text":"abc"}]}]}`,
		`{"content":[{"type":"document","title":null,"source":{"type":"url","url":"u"}}],"is_error":true}`, strings.Repeat("€", 50)} {
		for _, max := range []uint16{1, 30, 60, 1000} {
			f.Add([]byte(raw), max)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, max uint16) {
		if max == 0 {
			max = 1
		}
		r := answer(raw, false, int(max))
		var blocks []map[string]any
		if err := json.Unmarshal(r.Content, &blocks); err != nil || len(blocks) == 0 || !utf8.Valid(r.Content) {
			t.Fatalf("content is %q (%v)", r.Content, err)
		}
		for _, b := range blocks {
			if b["type"] == "text" && b["text"] == "" {
				t.Fatalf("an empty text in %s", r.Content)
			}
		}
		bound := len(content.NoOutput)
		if int(max) > bound {
			bound = int(max)
		}
		if n := content.Bytes(r); n > bound {
			t.Fatalf("%d bytes of text, at most %d expected: %s", n, max, r.Content)
		}
	})
}

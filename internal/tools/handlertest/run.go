package handlertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"toolhand/internal/testkit"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// A Peer is a kind of handler with an other end that can be told what to do.
type Peer struct {
	// New makes a handler whose other end does b with each call. What it makes
	// beside the handler is released by t.Cleanup; a handler that is an io.Closer
	// is closed by the suite.
	New func(t *testing.T, common tools.Common, b Behaviour) tools.Handler
	// Unreachable makes a handler with nobody at the other end.
	Unreachable func(t *testing.T, common tools.Common) tools.Handler
	// Whole reports that an answer comes in one piece, so that nobody can
	// trickle, nor answer without end.
	Whole bool
	// JSON reports that the input arrives as the same JSON, and not byte for byte:
	// without the white space between its values, and with other escapes.
	JSON bool
	// Loses reports that an answer can be lost on its way: New knows Lose.
	Loses bool
	// MaxAnswer bounds an answer in bytes where the kind has a bound of its own.
	// Zero means none. Huge answers with no more, and a kind with less than
	// MaxStructured can't have Bulky.
	MaxAnswer int
	// Stop is how long after the end of its context a call may take to return:
	// at most. Zero means one second.
	Stop time.Duration
}

// suite is one run of the suite.
type suite struct {
	Peer
	common tools.Common
}

// Run runs the whole suite for a kind. common is what its handlers are made
// with; its MaxResultBytes is the suite's own.
func Run(t *testing.T, common tools.Common, p Peer) {
	if p.Stop == 0 {
		p.Stop = time.Second
	}
	s := suite{Peer: p, common: common}
	each := []struct {
		name string
		run  func(*testing.T)
		have bool
	}{
		{"input arrives byte for byte", s.input, true},
		{"the other end is told about the call", s.meta, true},
		{"a tool's failure is a result", s.failure, true},
		{"content blocks are taken as they are", s.blocks, true},
		{"wrong content blocks are text, and named", s.misfits, !p.JSON},
		{"too large content blocks are an error result", s.bulky, p.MaxAnswer == 0 || p.MaxAnswer > 10<<20},
		{"no output", s.empty, true},
		{"invalid UTF-8 is replaced", s.invalid, true},
		{"huge output is bounded, and so is memory", s.huge, true},
		{"a silent peer is left at the deadline", s.stops(Silent), true},
		{"a trickling peer is left at the deadline", s.stops(Trickle), !p.Whole},
		{"a peer without end is left at the deadline", s.stops(Endless), !p.Whole},
		{"a cancelled call returns at once", s.cancelled, true},
		{"a context that is over runs nothing", s.over, true},
		{"calls at once do not mix", s.together, true},
		{"nobody there is unavailable", s.unreachable, true},
		{"a lost answer is told as lost", s.lost, p.Loses},
	}
	for _, c := range each {
		if c.have {
			t.Run(c.name, func(t *testing.T) {
				checkLeaks(t)
				c.run(t)
			})
		}
	}
}

func (s suite) handler(t *testing.T, b Behaviour) tools.Handler {
	t.Helper()
	h := s.New(t, s.common, b)
	closeAfter(t, h)
	return h
}

func closeAfter(t *testing.T, h tools.Handler) {
	if c, ok := h.(io.Closer); ok {
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Errorf("close the handler: %v", err)
			}
		})
	}
}

func (s suite) call(n int, input string) tools.Call {
	return tools.Call{
		ID:       fmt.Sprintf("sevt_%d", n),
		Tool:     s.common.Name,
		Session:  "sesn_conformance",
		Thread:   "sthr_7",
		Input:    json.RawMessage(input),
		Deadline: time.Date(2030, 1, 2, 3, 4, 5, 678900000, time.UTC),
	}
}

// answer makes one call that must have a result.
func (s suite) answer(t *testing.T, b Behaviour, input string) tools.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := s.handler(t, b).Call(ctx, s.call(1, input))
	if err != nil {
		t.Fatalf("call: %v", err)
	}
	return r
}

// textOf is the text of a result of one text block.
func textOf(t *testing.T, r tools.Result) string {
	t.Helper()
	var blocks []struct{ Type, Text string }
	if err := json.Unmarshal(r.Content, &blocks); err != nil || len(blocks) != 1 || blocks[0].Type != "text" {
		t.Fatalf("content is %.200s (%v), expected one text block", r.Content, err)
	}
	return blocks[0].Text
}

func (s suite) input(t *testing.T) {
	large := testkit.Sample(5<<20, 1<<20)
	if s.MaxAnswer != 0 {
		large = min(large, s.MaxAnswer/2)
	}
	s.common.MaxResultBytes = 2 * large
	for name, input := range map[string]string{
		"empty object":   `{}`,
		"large integers": `{"n":9007199254740993,"f":1.0,"e":1e400,"z":-0}`,
		"spaces":         "{ \"a\" :\t1 ,\n\"a\":2 }",
		"unicode":        `{"a":"<ä&漢字🙂>\u00e9\ud83d\ude00","\u0000":"\u2028"}`,
		"large":          `{"a":"` + strings.Repeat("x", large) + `"}`,
	} {
		r := s.answer(t, Echo, input)
		if got := textOf(t, r); got != input && !(s.JSON && sameTokens(t, got, input)) || r.IsError {
			t.Errorf("%s: got %.100q (%d bytes, error %t), expected %.100q (%d bytes)", name, got, len(got), r.IsError, input, len(input))
		}
	}
}

// sameTokens reports whether two texts are the same JSON: the order of keys, those
// that are there twice and the spelling of numbers included.
func sameTokens(t *testing.T, a, b string) bool {
	t.Helper()
	tokens := func(text string) []json.Token {
		var all []json.Token
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		for {
			token, err := dec.Token()
			if err == io.EOF {
				return all
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, token)
		}
	}
	return slices.Equal(tokens(a), tokens(b))
}

func (s suite) meta(t *testing.T) {
	for _, thread := range []string{"", "sthr_7"} {
		call := s.call(3, `{}`)
		call.Thread = thread
		r, err := s.handler(t, Meta).Call(t.Context(), call)
		if err != nil {
			t.Fatal(err)
		}
		var got About
		if err := json.Unmarshal([]byte(textOf(t, r)), &got); err != nil {
			t.Fatal(err)
		}
		want := About{Tool: s.common.Name, ID: "sevt_3", Session: "sesn_conformance", Thread: thread, Deadline: "2030-01-02T03:04:05.6789Z"}
		if got != want {
			t.Errorf("the other end was told %+v, expected %+v", got, want)
		}
	}
}

func (s suite) failure(t *testing.T) {
	r := s.answer(t, Fail, `{}`)
	if got := textOf(t, r); !r.IsError || !strings.Contains(got, "it failed") {
		t.Errorf("got %q, error %t", got, r.IsError)
	}
}

func (s suite) blocks(t *testing.T) {
	r := s.answer(t, Blocks, `{}`)
	want := `[{"type": "text", "text": "a <b> & c"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}}]`
	if !sameJSON(t, r.Content, []byte(want)) || !r.IsError {
		t.Errorf("got %s, error %t", r.Content, r.IsError)
	}
}

// misfits: what was meant as content blocks is not silently something else. The log has no
// content, and each reason once.
func (s suite) misfits(t *testing.T) {
	var log bytes.Buffer
	s.common.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	h := s.handler(t, Echo)
	for n := range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		r, err := h.Call(ctx, s.call(n, `{"content":[{"type":"imgae","data":"s3cr3t"}]}`))
		cancel()
		if err != nil || r.IsError || !strings.Contains(textOf(t, r), "s3cr3t") {
			t.Errorf("got %s, error %t, %v", r.Content, r.IsError, err)
		}
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "content[0].type: expected ") || strings.Contains(got, "s3cr3t") {
		t.Errorf("the log says %q", got)
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := errors.Join(json.Unmarshal(a, &x), json.Unmarshal(b, &y)); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(x) == fmt.Sprint(y)
}

func (s suite) bulky(t *testing.T) {
	s.common.MaxResultBytes = 1 << 20
	r := s.answer(t, Bulky, `{}`)
	if got := textOf(t, r); !r.IsError || len(got) > 1000 {
		t.Errorf("got %d bytes, error %t", len(got), r.IsError)
	}
}

func (s suite) empty(t *testing.T) {
	r := s.answer(t, Empty, `{}`)
	if got := textOf(t, r); got != content.NoOutput || r.IsError {
		t.Errorf("got %q, error %t", got, r.IsError)
	}
}

func (s suite) invalid(t *testing.T) {
	r := s.answer(t, Invalid, `{}`)
	got := textOf(t, r)
	if !strings.HasPrefix(got, "a\uFFFD") || !strings.HasSuffix(got, "b") {
		t.Errorf("got %q", got)
	}
}

func (s suite) together(t *testing.T) {
	h := s.handler(t, Echo)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for n := range 50 {
		all.Go(func() {
			input := fmt.Sprintf(`{"n":%d,"pad":%q}`, n, strings.Repeat("x", n*1000))
			r, err := h.Call(ctx, s.call(n, input))
			if err != nil {
				t.Errorf("call %d: %v", n, err)
				return
			}
			if want := string(content.Text(input).Content); string(r.Content) != want {
				t.Errorf("call %d got %.100s", n, r.Content)
			}
		})
	}
	all.Wait()
}

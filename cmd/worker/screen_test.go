package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"toolhand/internal/loop/run"
)

// envOf looks variables up in NAME=VALUE.
func envOf(vars ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, v := range vars {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}
}

func TestWidth(t *testing.T) {
	for _, c := range []struct {
		columns string
		want    int
	}{{"", 80}, {"COLUMNS=132", 132}, {"COLUMNS= 40 ", 40}, {"COLUMNS=3", minWidth}, {"COLUMNS=0", 80}, {"COLUMNS=-5", 80}, {"COLUMNS=wide", 80}} {
		if got := widthOf(envOf(c.columns), nil); got != c.want {
			t.Errorf("%q: %d columns, want %d", c.columns, got, c.want)
		}
	}
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := widthOf(envOf(), f); got != 80 {
		t.Errorf("a file has %d columns", got)
	}
}

func TestColour(t *testing.T) {
	for vars, want := range map[string]bool{"": true, "TERM=xterm": true, "TERM=dumb": false, "NO_COLOR=1": false, "NO_COLOR=": true, "TERM=xterm NO_COLOR=0": false} {
		if got := colourful(envOf(strings.Fields(vars)...)); got != want {
			t.Errorf("%q: %t", vars, got)
		}
	}
	var out bytes.Buffer
	p := &process{stdout: &out, lookupEnv: envOf("TERM=xterm")}
	if s := p.newScreen(nil); s.colour || s.width != 80 {
		t.Errorf("what is no terminal: %+v", s)
	}
	s := &screen{width: 20, colour: true, w: &out}
	s.line(part{red, "red "}, part{plain, "plain "}, part{green, "much too green for it"})
	if got := out.String(); got != "\x1b[1;31mred \x1b[0mplain \x1b[32mmuch too …\x1b[0m\n" {
		t.Errorf("%q", got)
	}
}

// TestScreenFits: no line is longer than the width, in columns of a terminal; nothing
// of a text but its own line's end moves the cursor.
func TestScreenFits(t *testing.T) {
	texts := []string{"", "short", strings.Repeat("word ", 60), strings.Repeat("x", 300), strings.Repeat("漢字", 90), "a\tb\x1b[2Jc\r\nd\x00e\u0301",
		"  leading " + strings.Repeat("y", 100), "🙂🙂🙂 " + strings.Repeat("🙂", 80)}
	for _, width := range []int{minWidth, 21, 40, 79, 80, 132} {
		var out bytes.Buffer
		s := newShow(&screen{width: width, w: &out})
		for _, text := range texts {
			content, err := json.Marshal([]map[string]string{{"type": "text", "text": text}, {"type": "image"}})
			if err != nil {
				t.Fatal(err)
			}
			s.line(part{plain, "  call    "}, part{dim, text})
			s.say(part{bold, "agent   "}, part{plain, text})
			s.result("", "a_tool_with_a_long_name", run.UnknownOutcome, text, content)
		}
		for line := range strings.Lines(out.String()) {
			line = strings.TrimSuffix(line, "\n")
			if length(line) > width {
				t.Errorf("%d columns at a width of %d: %q", length(line), width, line)
			}
			if strings.ContainsAny(line, "\x1b\r\t\x00\n") {
				t.Errorf("%q", line)
			}
		}
	}
}

// TestScreenLosesNothing: a text that is wrapped has all of its words.
func TestScreenLosesNothing(t *testing.T) {
	text := "the quick brown fox jumps over a-word-that-is-longer-than-the-whole-line and the lazy dog"
	got := strings.Join(wrap(text, 16), "")
	if strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(text, " ", "") {
		t.Errorf("%q", got)
	}
	for _, line := range wrap(text, 16) {
		if length(line) > 16 || line == "" {
			t.Errorf("%q", line)
		}
	}
}

func TestScreenIsLost(t *testing.T) {
	var lost error
	s := &screen{width: 80, w: failing{}, lost: func(err error) { lost = err }}
	s.line(part{plain, "text"})
	if !errors.Is(lost, os.ErrClosed) {
		t.Errorf("lost: %v", lost)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, os.ErrClosed }

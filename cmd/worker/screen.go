package main

import (
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"toolhand/internal/telemetry"
)

// The width of a screen in columns, where nothing says it, and at least.
const (
	defaultWidth = 80
	minWidth     = 20
)

// A style is how a part of a line looks: the parameters of a terminal's escape
// sequence. Plain is empty.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "1;31"
	green  style = "32"
	yellow style = "33"
	blue   style = "1;34"
	purple style = "1;35"
)

// part is a part of a line.
type part struct {
	style style
	text  string
}

// screen is where a command shows what happens: lines that fit, in colour where
// that is wanted. Its methods may be called by many goroutines.
type screen struct {
	width  int         // immutable, as is colour
	colour bool        // escape sequences are understood
	lost   func(error) // told when w takes no more

	out sync.Mutex
	w   io.Writer // guarded by out
}

// newScreen is a screen on the standard output, which tells lost when that does
// not work.
func (p *process) newScreen(lost func(error)) *screen {
	f, _ := p.stdout.(*os.File)
	if f != nil && !telemetry.IsTerminal(f) {
		f = nil
	}
	return &screen{width: widthOf(p.lookupEnv, f), colour: f != nil && colourful(p.lookupEnv), lost: lost, w: p.stdout}
}

// widthOf is the width in columns: that of COLUMNS, else the terminal's, else 80.
func widthOf(lookupEnv func(string) (string, bool), terminal *os.File) int {
	text, _ := lookupEnv("COLUMNS")
	if n, err := strconv.Atoi(strings.TrimSpace(text)); err == nil && n > 0 {
		return max(n, minWidth)
	}
	if terminal != nil {
		if size, err := unix.IoctlGetWinsize(int(terminal.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			return max(int(size.Col), minWidth)
		}
	}
	return defaultWidth
}

// colourful reports whether the environment allows colours on a terminal.
func colourful(lookupEnv func(string) (string, bool)) bool {
	no, _ := lookupEnv("NO_COLOR")
	term, _ := lookupEnv("TERM")
	return no == "" && term != "dumb"
}

// line prints a line, cut to the width.
func (s *screen) line(parts ...part) { s.print(parts) }

// empty prints an empty line.
func (s *screen) empty() { s.print(nil) }

// say prints a text after a head, in as many lines as it takes.
func (s *screen) say(head part, text part) { s.print(s.below(head, text)...) }

// below are the lines of a text after a head. Those after the first begin below the
// text.
func (s *screen) below(head part, text part) [][]part {
	indent := length(head.text)
	var lines [][]part
	for _, line := range wrap(printable(text.text), max(s.width-indent, minWidth/2)) {
		lines = append(lines, []part{head, {text.style, line}})
		head = part{plain, strings.Repeat(" ", indent)}
	}
	return lines
}

// print prints lines that stay together, each cut to the width.
func (s *screen) print(lines ...[]part) {
	var b strings.Builder
	for _, parts := range lines {
		b.WriteString(s.formed(parts) + "\n")
	}
	s.raw(b.String())
}

// raw prints a text as it is.
func (s *screen) raw(text string) {
	s.out.Lock()
	defer s.out.Unlock()
	if _, err := io.WriteString(s.w, text); err != nil {
		s.lost(err)
	}
}

// formed is a line as the screen takes it.
func (s *screen) formed(parts []part) string {
	var b strings.Builder
	for left := s.width; len(parts) > 0 && left > 0; parts = parts[1:] {
		text := clip(printable(parts[0].text), left)
		left -= length(text)
		if len(parts) == 1 {
			text = strings.TrimRight(text, " ")
		}
		if look := parts[0].style; s.colour && look != plain && text != "" {
			text = "\x1b[" + string(look) + "m" + text + "\x1b[0m"
		}
		b.WriteString(text)
	}
	return b.String()
}

package main

import (
	"fmt"
	"strings"
	"unicode"
)

// plural is a number of things.
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// wrap breaks a line into lines of so many columns, between words if it can.
func wrap(s string, max int) []string {
	var lines []string
	for {
		head := fitting(s, max)
		if head == s {
			return append(lines, s)
		}
		rest := s[len(head):]
		if at := strings.LastIndexByte(head, ' '); rest[0] != ' ' && at > 0 && strings.TrimSpace(head[:at]) != "" {
			head, rest = s[:at], s[at:]
		}
		lines, s = append(lines, strings.TrimRight(head, " ")), strings.TrimLeft(rest, " ")
	}
}

// clip shortens a line to so many columns.
func clip(s string, max int) string {
	if head := fitting(s, max); head != s {
		return fitting(s, max-1) + "…"
	}
	return s
}

// fitting is the beginning of a line that takes at most so many columns of a
// terminal, one character at least.
func fitting(s string, max int) string {
	taken := 0
	for i, r := range s {
		if taken += columnsOf(r); taken > max && i > 0 {
			return s[:i]
		}
	}
	return s
}

// length is how many columns of a terminal a text takes.
func length(s string) int {
	n := 0
	for _, r := range s {
		n += columnsOf(r)
	}
	return n
}

// columnsOf is how many columns of a terminal a character takes: it is right for
// what people write, and not for each character that there is.
func columnsOf(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana),
		r >= 0x1F300 && r <= 0x1FAFF,                           // pictures
		r >= 0x3000 && r <= 0x303E, r >= 0xFF01 && r <= 0xFF60: // full-width signs
		return 2
	}
	return 1
}

// firstLine is the beginning of a text, fit for a table. Of a tool that is
// announced it may hold anything.
func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	s = printable(s)
	if r := []rune(s); len(r) > 60 {
		s = string(r[:59]) + "…"
	}
	return s
}

// printable is a text without what could move the cursor of a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

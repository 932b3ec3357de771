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

// wrap breaks a line into lines of so many characters, between words if it can.
func wrap(s string, max int) []string {
	var lines []string
	for r := []rune(s); ; {
		if len(r) <= max {
			return append(lines, string(r))
		}
		at := max
		for i := max; i > max/2; i-- {
			if r[i] == ' ' {
				at = i
				break
			}
		}
		lines, r = append(lines, string(r[:at])), []rune(strings.TrimLeft(string(r[at:]), " "))
	}
}

// clip shortens a line to so many characters.
func clip(s string, max int) string {
	r := []rune(strings.ReplaceAll(s, "\t", "  "))
	if len(r) > max {
		return string(r[:max-1]) + "…"
	}
	return string(r)
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

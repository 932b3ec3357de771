package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"toolhand/internal/loop/run"
)

// maxLines is how many lines of a result are shown.
const maxLines = 4

// result shows a result: how it came to be is note.
func (s *show) result(from, tool string, o run.Outcome, note string, content json.RawMessage) {
	look := yellow
	switch o {
	case run.OK:
		look = green
	case run.Failed:
		look = red
	}
	s.mu.Lock()
	s.outcomes[string(o)]++
	s.mu.Unlock()
	lines := [][]part{{{bold, from + "  result  "}, {plain, fmt.Sprintf("%-14s ", tool)}, {look, string(o)}, {dim, ", " + note}}}
	indent := strings.Repeat(" ", length(from)+10)
	for _, line := range s.shortened(textOf(content), length(indent)) {
		lines = append(lines, []part{{plain, indent}, {plain, line}})
	}
	s.print(lines...)
}

// shortened are the lines of a result's text that are shown.
func (s *show) shortened(text string, indent int) []string {
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return strings.TrimSpace(l) == "" })
	if len(lines) == 1 {
		lines = wrap(printable(lines[0]), max(s.width-indent, minWidth/2))
	}
	if len(lines) > maxLines {
		lines = append(lines[:maxLines-1], "("+plural(len(lines)-maxLines+1, "line")+" more)")
	}
	return lines
}

// textOf is the text of a message or a result.
func textOf(content json.RawMessage) string {
	var blocks []struct{ Type, Text string }
	if json.Unmarshal(content, &blocks) != nil {
		return ""
	}
	texts := make([]string, len(blocks))
	for i, block := range blocks {
		texts[i] = block.Text
		if block.Type != "text" {
			texts[i] = "[" + block.Type + "]"
		}
	}
	return strings.Join(texts, "\n")
}

// came is what the calls came to.
func (s *show) came() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var each []string
	for _, o := range run.Outcomes() {
		if n := s.outcomes[string(o)]; n > 0 {
			each = append(each, fmt.Sprintf("%d %s", n, o))
		}
	}
	return strings.Join(each, ", ")
}

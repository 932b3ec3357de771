package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a file.
type Problem struct {
	// File is the path as it was given to Load.
	File string
	// Line and Column count from 1.
	Line, Column int
	// Key is the dotted path of the key (upstream.base_url). Empty where the
	// file as a whole is meant.
	Key string
	// Text says what is wrong and what is expected.
	Text string
}

// String is file:line:column: key: text, which editors can jump to.
func (p Problem) String() string {
	text := p.Text
	if p.Key != "" {
		text = p.Key + ": " + text
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, text)
}

// Error is a file that can't be used: everything that was found wrong with it,
// in the order of the file. It holds at least one problem.
type Error struct {
	Problems []Problem
}

// Error has a line for each problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// sort puts the problems in the order of the file; those of one place stay in
// the order in which they were found.
func (e *Error) sort() {
	slices.SortStableFunc(e.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

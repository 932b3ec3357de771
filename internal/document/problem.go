package document

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong in a file.
type Problem struct {
	// File is the path of the file, as it was given.
	File string
	// Line and Column begin at 1. Zero means that the whole file is meant.
	Line, Column int
	// Pointer is the JSON pointer of the value; empty for the file as a whole.
	Pointer string
	// Text says what is wrong and what is expected.
	Text string
}

// Bare is key: text, without the place.
func (p Problem) Bare() string {
	if p.Pointer == "" {
		return p.Text
	}
	return Key(p.Pointer) + ": " + p.Text
}

// String is file:line:column: key: text, which editors can jump to.
func (p Problem) String() string {
	text := p.Bare()
	if p.Line == 0 {
		return p.File + ": " + text
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, text)
}

// Errors is all that is wrong with one or more files, in the order of files and lines,
// never empty.
type Errors struct {
	Problems []Problem
}

// Error has one line a problem.
func (e *Errors) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// maxProblems bounds what is told of one file: its hundredth problem helps nobody.
const maxProblems = 50

// Problems collects what is wrong in a file. The zero value but for File is ready.
type Problems struct {
	File string
	List []Problem
}

// At adds a problem at a value, whose JSON pointer is given too.
func (ps *Problems) At(n *Node, pointer, format string, args ...any) {
	ps.add(Problem{Line: n.Line, Column: n.Column, Pointer: pointer, Text: fmt.Sprintf(format, args...)})
}

// Add adds a problem of the file as a whole.
func (ps *Problems) Add(format string, args ...any) {
	ps.add(Problem{Text: fmt.Sprintf(format, args...)})
}

func (ps *Problems) add(p Problem) {
	p.File = ps.File
	if len(ps.List) < maxProblems && !slices.Contains(ps.List, p) {
		ps.List = append(ps.List, p)
	}
}

// Err is an [*Errors] of all problems in order, nil where there are none.
func (ps *Problems) Err() error {
	if len(ps.List) == 0 {
		return nil
	}
	slices.SortStableFunc(ps.List, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Errors{Problems: ps.List}
}

// First is the first problem in one line, without its place; empty where there is none.
func (ps *Problems) First() string {
	if ps.Err() == nil {
		return ""
	}
	return OneLine(ps.List[0].Bare())
}

// Nearest is the known name that a wrong one was probably meant to be, as the end of a
// message: " (did you mean name?)"; or nothing.
func Nearest(wrong string, known []string) string {
	best, distance := "", 3
	if len(wrong) > 40 {
		return ""
	}
	for _, k := range known {
		if d := editDistance(strings.ToLower(wrong), strings.ToLower(k)); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + best + "?)"
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}

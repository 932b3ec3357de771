package registry

import (
	"fmt"
	"sort"
	"strings"
)

// Problem is one thing that is wrong in a manifest or in the folder.
type Problem struct {
	// File is the path of the file, as the folder was given.
	File string
	// Line and Column begin at 1. Zero means that the whole file is meant.
	Line, Column int
	// Text says what is wrong and what is expected.
	Text string
}

// String gives file:line:column: text.
func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Text)
}

// Errors is the error of Load: everything that is wrong, in the order of files
// and lines, never empty.
type Errors struct {
	Problems []Problem
}

// Error gives one line a problem.
func (e *Errors) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// maxProblems bounds what is told of one file: the hundredth error of a file
// helps nobody.
const maxProblems = 50

// problems collects what is wrong in one file.
type problems struct {
	file string
	list []Problem
}

func (ps *problems) at(n *node, format string, args ...any) {
	ps.add(n.line, n.column, fmt.Sprintf(format, args...))
}

func (ps *problems) add(line, column int, text string) {
	p := Problem{File: ps.file, Line: line, Column: column, Text: text}
	if len(ps.list) >= maxProblems {
		return
	}
	for _, q := range ps.list {
		if p == q {
			return
		}
	}
	ps.list = append(ps.list, p)
}

func (ps *problems) sorted() []Problem {
	sort.SliceStable(ps.list, func(i, j int) bool {
		a, b := ps.list[i], ps.list[j]
		if a.File != b.File {
			return a.File < b.File
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
	return ps.list
}

// InvalidError says why an input was refused: the tool was not run.
type InvalidError struct {
	// Tool is the tool's name.
	Tool string
	// Lines are the violations, at most 20, without the leading dash.
	Lines []string
	// Panic is what the validator panicked with, nil as a rule. The caller
	// logs it with Stack; the agent learns only that the input can't be checked.
	Panic any
	// Stack is the stack of the panic.
	Stack []byte
}

// Text is the whole answer to the agent.
func (e *InvalidError) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Invalid input for tool %q:", e.Tool)
	for _, line := range e.Lines {
		b.WriteByte('\n')
		if !strings.HasPrefix(line, moreLines) {
			b.WriteString("- ")
		}
		b.WriteString(line)
	}
	return b.String()
}

func (e *InvalidError) Error() string { return e.Text() }

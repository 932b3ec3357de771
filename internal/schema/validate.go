package schema

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"toolhand/internal/document"
)

// Bounds of an input besides those of [document.ParseJSON], checked before the
// validator sees it, which has neither a context nor a bound of its own. Measured in
// docs/decisions/0002-input-limits.md.
const (
	maxInputBytes = 8 << 20
	// maxPointersBytes bounds the JSON pointers of all values: the validator builds each
	// of them, needed or not.
	maxPointersBytes = 64 << 20
)

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

// inputCost is what makes the check of an input dear.
type inputCost struct {
	bytes, values, depth int
	// longest is the length of the longest string, names included, and pointer that
	// of the longest JSON pointer.
	longest, pointer int
	// widest is the largest number of values that one of them holds.
	widest int
	// pointers sums the lengths of the JSON pointers of all values.
	pointers int
}

// add counts a value and all that it holds.
func (c *inputCost) add(n *document.Node, depth, pointer int) {
	c.values++
	c.pointers += pointer
	c.depth, c.pointer = max(c.depth, depth), max(c.pointer, pointer)
	c.widest = max(c.widest, len(n.Items))
	if n.Kind == document.String {
		c.longest = max(c.longest, len(n.Text))
	}
	for i, item := range n.Items {
		length := len(fmt.Sprint(i))
		if n.Kind == document.Mapping {
			length = len(n.Keys[i].Text)
			c.longest = max(c.longest, length)
		}
		c.add(item, depth+1, pointer+length+1)
	}
}

// Validate checks the input of a call of the tool so called. It returns nil, or an
// *[InvalidError] whose Text is the answer to the agent; where ctx ends it, ctx's cause.
// Its time and memory are bounded whatever the input is; a panic of the validator becomes
// an *InvalidError too.
func (s *Schema) Validate(ctx context.Context, tool string, input []byte) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case checkOver:
			err = r.cause
		case tooMuchWork:
			err = &InvalidError{Tool: tool, Lines: []string{"(root): expected a smaller input or less nesting: checking this one against the tool's schema takes too long"}}
		default:
			err = &InvalidError{
				Tool: tool, Panic: r, Stack: debug.Stack(),
				Lines: []string{"(root): expected an input that can be checked: the check itself went wrong on this one"},
			}
		}
	}()
	value, cost, wrong := decodeInput(input)
	if len(wrong) > 0 {
		return &InvalidError{Tool: tool, Lines: lines(wrong, 0)}
	}
	err = s.check(ctx, value, cost)
	if err == nil {
		return nil
	}
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		// A schema that refers to itself without end; no input is at fault.
		return &InvalidError{Tool: tool, Lines: []string{"(root): " + document.Cut(err.Error(), 300)}}
	}
	e := explainer{schema: s, root: value}
	found, more := e.explain(invalid)
	return &InvalidError{Tool: tool, Lines: lines(found, more)}
}

// decodeInput gives the value with numbers kept as they are written.
func decodeInput(input []byte) (value any, cost inputCost, wrong []violation) {
	refuse := func(expected, found string) (any, inputCost, []violation) {
		return nil, cost, []violation{{expected: expected, found: found}}
	}
	if len(input) > maxInputBytes {
		return refuse(fmt.Sprintf("at most %d bytes of JSON", maxInputBytes), fmt.Sprint(len(input)))
	}
	var ps document.Problems
	n := document.ParseJSON(&ps, input)
	if ps.Err() != nil {
		for _, p := range ps.List {
			wrong = append(wrong, violation{pointer: p.Pointer, expected: strings.TrimPrefix(p.Text, "expected ")})
		}
		return nil, cost, wrong
	}
	if n.Kind != document.Mapping {
		return refuse("a JSON object", document.Describe(n.Value()))
	}
	if cost.add(n, 0, 0); cost.pointers > maxPointersBytes {
		return refuse("shorter keys or less nesting: the paths of all values together are too long to check", "")
	}
	cost.bytes = len(input)
	return n.Value(), cost, nil
}

// heavy has one place: the errors of one large input may take half a gigabyte, so
// that these inputs take turns in the whole process.
var heavy = make(chan struct{}, 1)

// check holds a value against the schema. It panics with tooMuchWork or checkOver.
func (s *Schema) check(ctx context.Context, value any, cost inputCost) error {
	if !s.work.possible(cost) {
		panic(tooMuchWork{})
	}
	if err, done := s.checkLight(ctx, value, cost); done {
		return err
	}
	select {
	case heavy <- struct{}{}:
	case <-ctx.Done():
		panic(checkOver{context.Cause(ctx)})
	}
	defer func() { <-heavy }()
	return s.counted(ctx, value, cost, s.work.grant(cost))
}

// checkLight checks a value that takes little, as nearly all do.
func (s *Schema) checkLight(ctx context.Context, value any, cost inputCost) (err error, done bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(tooMuchWork); !ok {
				panic(r)
			}
			err, done = nil, false
		}
	}()
	return s.counted(ctx, value, cost, lightWork), true
}

func (s *Schema) counted(ctx context.Context, value any, cost inputCost, granted int) error {
	s.work.begin(ctx, cost, granted)
	defer s.work.end()
	return s.compiled.Validate(value)
}

package schema

import (
	"context"
	"encoding/json"
	"regexp/syntax"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"toolhand/internal/document"
)

// The work on one input is counted in units of about 0.3 µs: the validator's own,
// on a small value, a few levels down. It has neither a context nor a bound, and a
// schema of 2 KB can ask for any number of evaluations. docs/decisions/0012 has
// what was measured.
const (
	// lightWork is what any number of inputs may take at once: 2 ms, 10 MB of errors.
	lightWork = 25_000
	// baseWork is for every input, however small: about 50 ms.
	baseWork = 150_000
	// workPerValue and workPerByte add to it, so that the work grows with the input
	// and no faster.
	workPerValue = 40
	bytesPerUnit = 16
	// regexFormat is what the format regex counts for, in instructions.
	regexFormat = 1024
	// maxMatching bounds the bytes of the longest string times the instructions of
	// the longest pattern, since a match can't be ended.
	maxMatching = 1 << 27
	// maxDraftValues bounds an input that is itself checked as a schema.
	maxDraftValues = 2000
	// locationsPerUnit is how many bytes of locations, which the validator writes
	// out for each error, are a unit.
	locationsPerUnit = 4096
	// sliceWork is after how much work a check looks whether it is over, and lets the
	// other checks of its schema go on: about 2 ms.
	sliceWork = 5000
)

// tooMuchWork is the panic that ends a validation.
type tooMuchWork struct{}

// checkOver is the panic that ends a validation whose context is over.
type checkOver struct{ cause error }

// work counts the work on one input. The validator hands extensions nothing that
// belongs to the input, so the inputs of one schema take turns, slice by slice.
type work struct {
	// turn is full while an input has its turn, which guards count.
	turn  chan struct{}
	count count

	// Immutable after the schema is compiled, as are all below:

	// scope is the longest way through the schema, in parts; 0 where it has no end.
	scope int
	// inPlace is the longest way that stays at one value.
	inPlace int
	// pathBytes is the longest step of a way, locationBytes the longest location.
	pathBytes, locationBytes int
	// instructions are those of the longest pattern.
	instructions int
	// widest is the largest number of parts that one part holds a value against.
	widest int
	// drafts reports whether a value may be checked as a schema.
	drafts bool
}

// count is the work on the input whose turn it is.
type count struct {
	ctx context.Context
	// left is what the input may still take, slice what it may take in this turn.
	left, slice int
	// matching is how long patterns of ECMA-262 have taken.
	matching time.Duration
	// factor is what a unit costs with this input: the longer the way to a value,
	// the dearer its errors.
	factor int
}

func newWork() *work { return &work{turn: make(chan struct{}, 1)} }

// grant is the work that an input may take.
func (w *work) grant(cost inputCost) int {
	return baseWork + workPerValue*cost.values + cost.bytes/bytesPerUnit
}

// possible reports whether an input can be checked at all: what one part of the
// schema does with one value is counted when it is done.
func (w *work) possible(cost inputCost) bool {
	return cost.longest*w.instructions <= maxMatching && cost.widest*w.widest/4 <= w.grant(cost) &&
		(!w.drafts || cost.values <= maxDraftValues)
}

// begin waits for the turn and starts the count for an input. The caller ends the
// turn.
func (w *work) begin(ctx context.Context, cost inputCost, granted int) {
	select {
	case w.turn <- struct{}{}:
	case <-ctx.Done():
		panic(checkOver{context.Cause(ctx)})
	}
	scope := (cost.depth + 1) * w.inPlace
	if w.scope > 0 {
		scope = min(scope, w.scope)
	}
	// The validator joins the steps of a way one by one: the square of their number.
	locations := scope*scope*w.pathBytes/2 + w.locationBytes + cost.pointer
	w.count = count{ctx: ctx, left: granted, slice: sliceWork, factor: min(1+locations/locationsPerUnit, 1<<20)}
}

func (w *work) end() { <-w.turn }

func (w *work) spend(units int) {
	units *= w.count.factor
	if w.count.left -= units; w.count.left < 0 {
		panic(tooMuchWork{})
	}
	if w.count.slice -= units; w.count.slice < 0 {
		w.pause()
	}
}

// pause lets the checks go on that wait for their turn, each for one slice, and ends
// this one if it is over.
func (w *work) pause() {
	own := w.count
	w.end()
	w.turn <- struct{}{}
	own.slice = sliceWork
	w.count = own
	if own.ctx.Err() != nil {
		panic(checkOver{context.Cause(own.ctx)})
	}
}

// weight is what one part of a schema costs at each value that it is held against.
type weight struct {
	work *work
	// self is for any value; inPlace are the parts for the same value, whose
	// bookkeeping grows with the value; patterns those of patternProperties.
	self, inPlace, patterns int
	// instructions are those of all patterns.
	instructions int
	numbers      bool // the part compares numbers
	draft        bool // the part refers to a draft's own schema
}

// Validate counts. It comes behind the parts below it, so that no more than one
// part a level is at work that was not counted.
func (p *weight) Validate(_ jsonschema.ValidationContext, v any) error {
	units := p.self
	switch v := v.(type) {
	case string:
		units += len(v) * (1 + p.instructions) / 1024
	case json.Number:
		if p.numbers {
			units += 1 + len(v)/16
		}
	case []any:
		units += len(v) * (1 + p.inPlace) / 4
	case map[string]any:
		bytes := 0
		for name := range v {
			bytes += len(name)
		}
		units += len(v)*(1+p.inPlace+p.patterns)/4 + bytes*(1+p.instructions)/1024
	}
	if p.draft {
		units += 20 * valuesIn(v)
	}
	p.work.spend(units)
	return nil
}

func valuesIn(v any) int {
	n := 1
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			n += valuesIn(item)
		}
	case map[string]any:
		for _, item := range v {
			n += valuesIn(item)
		}
	}
	return n
}

// weigher weighs each part of a schema when it is compiled, those too that only a
// dynamic reference leads to.
type weigher struct {
	work *work
	// anchors are the parts that a dynamic reference may lead to.
	anchors []*jsonschema.Schema
}

// Compile implements jsonschema.ExtCompiler.
func (w *weigher) Compile(ctx jsonschema.CompilerContext, m map[string]any) (jsonschema.ExtSchema, error) {
	p := &weight{work: w.work}
	data, text, longest := 0, 0, 0
	for key, v := range m {
		switch key {
		case "allOf", "anyOf", "oneOf":
			p.inPlace += entries(v)
		case "not", "if", "then", "else":
			p.inPlace++
		case "$ref", "$dynamicRef", "$recursiveRef":
			p.inPlace++
		case "properties", "patternProperties", "dependentSchemas", "dependencies":
			object, _ := v.(map[string]any)
			for name, sub := range object {
				longest = max(longest, len(name))
				text += len(name)
				if key == "patternProperties" {
					p.patterns++
					p.add(patternSize(name))
				} else if list, ok := sub.([]any); ok {
					data += len(list)
				}
			}
			if key == "properties" {
				data += len(object)
			} else if key != "patternProperties" {
				p.inPlace += len(object)
			}
		case "enum", "const":
			nodes, bytes := weighData(v)
			data, text = data+nodes, text+bytes
		case "required", "dependentRequired":
			nodes, bytes := weighData(v)
			data, text = data+8*nodes, text+bytes
		case "pattern":
			if s, ok := v.(string); ok {
				p.add(patternSize(s))
			}
		case "format":
			if v == "regex" {
				p.instructions += regexFormat
			}
		case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "type":
			p.numbers = true
		}
	}
	p.self = 1 + p.inPlace + data/8 + text/64
	w.work.widest = max(w.work.widest, 1+p.inPlace+p.patterns)
	w.work.pathBytes = max(w.work.pathBytes, longest+len("properties//"))
	if name, ok := m["$dynamicAnchor"].(string); ok {
		part, err := ctx.CompileRef("#"+name, "$dynamicAnchor", false)
		if err != nil {
			return nil, err
		}
		w.anchors = append(w.anchors, part)
	}
	return p, nil
}

func (p *weight) add(instructions int) {
	p.instructions += instructions
	p.work.instructions = max(p.work.instructions, instructions)
}

func entries(v any) int {
	list, _ := v.([]any)
	return len(list)
}

// weighData counts the values of a schema's data, and their bytes. A number counts
// for more: it is made a fraction at each comparison.
func weighData(v any) (nodes, bytes int) {
	switch v := v.(type) {
	case string:
		return 1, len(v)
	case json.Number:
		return 16, len(v)
	case []any:
		for _, item := range v {
			n, b := weighData(item)
			nodes, bytes = nodes+n, bytes+b
		}
	case map[string]any:
		for name, item := range v {
			n, b := weighData(item)
			nodes, bytes = nodes+n, bytes+b+len(name)
		}
	}
	return nodes + 1, bytes
}

// patternSize is about the number of instructions of a pattern, without compiling
// it; 0 where it is none.
func patternSize(pattern string) int {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0
	}
	return regexpSize(re)
}

func regexpSize(re *syntax.Regexp) int {
	size := 1 + len(re.Rune)/4
	if re.Op == syntax.OpLiteral {
		size = len(re.Rune)
	}
	for _, sub := range re.Sub {
		size += regexpSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		size *= max(re.Min, re.Max, 1)
	}
	return min(size, 1<<30)
}

// Bounds of what the validator's compiler is given.
const (
	// maxPatterns bounds the instructions of all patterns of a schema: a pattern of
	// seven characters may stand for a thousand, and each takes 40 bytes.
	maxPatterns = 200_000
	// ecmaSize is what a pattern of ECMA-262 counts for, besides its length.
	ecmaSize = 1000
	// maxCompiling bounds the steps of the compiler, of about 40 ns: for each part it
	// looks through all parts, and for each reference too.
	maxCompiling = 50_000_000
)

// checkSize tells of a schema that is too much to compile.
func checkSize(ps *document.Problems, n *document.Node, pointer string) bool {
	var patterns, parts, steps int
	eachPart(n, func(part *document.Node) {
		parts++
		for i, item := range part.Items {
			switch key := part.Keys[i].Text; key {
			case "pattern":
				patterns = min(patterns+patternSize(item.Text), 1<<40)
				if !isPattern(item.Text) {
					patterns += ecmaSize + len(item.Text)
				}
			case "patternProperties":
				for _, k := range item.Keys {
					patterns = min(patterns+patternSize(k.Text), 1<<40)
				}
			case "$ref", "$dynamicRef", "$recursiveRef":
				if strings.HasPrefix(item.Text, "#/") {
					steps += 5
				} else {
					steps += 20
				}
			}
		}
	})
	if steps = (steps + parts) * parts; steps > maxCompiling {
		ps.At(n, pointer, "expected fewer parts and references, found %d parts", parts)
		return false
	}
	if patterns > maxPatterns {
		ps.At(n, pointer, "expected patterns of at most %d instructions in all, found %d", maxPatterns, patterns)
		return false
	}
	return true
}

// eachPart visits the objects that may be parts of a schema, but not those that
// are its data.
func eachPart(n *document.Node, visit func(*document.Node)) { asPart.each(n, visit) }

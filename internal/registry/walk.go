package registry

import (
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// maxWork bounds the parts of a recursive schema that one input is held against,
// times the levels of the input: the validator writes out the way to each part,
// so a step costs about a microsecond a level. Where two alternatives describe
// the same property by themselves, the validator tries both, and each level of
// nesting doubles the steps.
const maxWork = 1_000_000

// steps counts the work on one input. The validator hands extensions nothing
// that belongs to the input, so the inputs of one such schema take turns.
type steps struct {
	mu   sync.Mutex
	left int // guarded by mu
}

// tooManySteps is the panic that ends a validation.
type tooManySteps struct{}

func (s *steps) Validate(_ jsonschema.ValidationContext, v any) error {
	s.left--
	switch v := v.(type) {
	case []any:
		s.left -= len(v)
	case map[string]any:
		s.left -= len(v)
	}
	if s.left < 0 {
		panic(tooManySteps{})
	}
	return nil
}

// walk visits every part of a compiled schema once.
type walk struct {
	schema *schema
	// open tells the parts above the one that is visited from those behind.
	open      map[*jsonschema.Schema]bool
	recursive bool
}

// adopt notes where each part of the schema stands, and exchanges the check of
// uniqueItems. The drafts' own schemas are left alone, since all of the process
// shares them; they are recursive, but try no part of an input in two ways.
func adopt(s *schema) {
	w := &walk{schema: s, open: make(map[*jsonschema.Schema]bool)}
	w.visit(s.compiled)
	for part := range w.open {
		part.Extensions = make(map[string]jsonschema.ExtSchema)
		if part.UniqueItems {
			part.UniqueItems = false
			part.Extensions["uniqueItems"] = uniqueItems{}
		}
	}
	if !w.recursive {
		return
	}
	s.steps = &steps{}
	for part := range w.open {
		part.Extensions["steps"] = s.steps
	}
}

func (w *walk) visit(part *jsonschema.Schema) {
	if part == nil || isDraft(part.Location) {
		return
	}
	if open, seen := w.open[part]; seen {
		w.recursive = w.recursive || open
		return
	}
	w.open[part] = true
	w.schema.byLocation[part.Location] = part
	if part.RecursiveRef != nil || part.DynamicRef != nil {
		w.recursive = true
	}
	for _, one := range []*jsonschema.Schema{
		part.Ref, part.RecursiveRef, part.DynamicRef, part.Not, part.If, part.Then, part.Else, part.PropertyNames,
		part.UnevaluatedProperties, part.Items2020, part.Contains, part.UnevaluatedItems, part.ContentSchema,
	} {
		w.visit(one)
	}
	for _, many := range [][]*jsonschema.Schema{part.AllOf, part.AnyOf, part.OneOf, part.PrefixItems} {
		for _, one := range many {
			w.visit(one)
		}
	}
	for _, many := range []map[string]*jsonschema.Schema{part.Properties, part.DependentSchemas} {
		for _, one := range many {
			w.visit(one)
		}
	}
	for _, one := range part.PatternProperties {
		w.visit(one)
	}
	for _, one := range part.Dependencies {
		w.visitAny(one)
	}
	w.visitAny(part.AdditionalProperties)
	w.visitAny(part.Items)
	w.visitAny(part.AdditionalItems)
	w.open[part] = false
}

func isDraft(location string) bool {
	return strings.HasPrefix(location, "http://json-schema.org/") || strings.HasPrefix(location, "https://json-schema.org/")
}

func (w *walk) visitAny(v any) {
	switch v := v.(type) {
	case *jsonschema.Schema:
		w.visit(v)
	case []*jsonschema.Schema:
		for _, one := range v {
			w.visit(one)
		}
	}
}

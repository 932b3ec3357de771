package schema

import (
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// walk visits every part of a compiled schema once.
type walk struct {
	schema *Schema
	// anchors are where a dynamic reference may lead besides its own target.
	anchors []*jsonschema.Schema
	// ways has the longest ways from each part that was left; a part that was only
	// entered is above the one that is visited.
	ways      map[*jsonschema.Schema]way
	recursive bool
}

// way is how many parts may follow each other from a part on, itself included.
type way struct {
	// all leads on to other values, inPlace stays at one.
	all, inPlace int
	left         bool
}

// adopt notes where each part of the schema stands and how far the ways through it
// lead, and exchanges the check of uniqueItems. The drafts' own schemas are left
// alone, since all of the process shares them.
func adopt(s *Schema, anchors []*jsonschema.Schema) {
	w := &walk{schema: s, anchors: anchors, ways: make(map[*jsonschema.Schema]way)}
	longest := w.visit(s.compiled)
	for _, anchor := range anchors {
		w.visit(anchor)
	}
	for part, from := range w.ways {
		if part.UniqueItems {
			part.UniqueItems = false
			if part.Extensions == nil {
				part.Extensions = make(map[string]jsonschema.ExtSchema)
			}
			part.Extensions["uniqueItems"] = uniqueItems{s.work}
		}
		if s.work != nil {
			s.work.inPlace = max(s.work.inPlace, from.inPlace)
			s.work.locationBytes = max(s.work.locationBytes, len(part.Location))
		}
	}
	if s.work != nil && !w.recursive {
		s.work.scope = longest.all
	}
}

// visit gives the longest ways from a part on.
func (w *walk) visit(part *jsonschema.Schema) way {
	if part == nil {
		return way{}
	}
	if drafts()[part] {
		return way{all: 1, inPlace: 1}
	}
	if from, seen := w.ways[part]; seen {
		w.recursive = w.recursive || !from.left
		return from
	}
	w.ways[part] = way{}
	w.schema.byLocation[part.Location] = part
	w.weigh(part)
	from := way{}
	stay := func(next *jsonschema.Schema) {
		way := w.visit(next)
		from.all, from.inPlace = max(from.all, way.all), max(from.inPlace, way.inPlace)
	}
	leave := func(next *jsonschema.Schema) { from.all = max(from.all, w.visit(next).all) }
	if part.RecursiveRef != nil || part.DynamicRef != nil {
		w.recursive = true
		for _, anchor := range w.anchors {
			stay(anchor)
		}
	}
	w.follow(part, stay, leave)
	from = way{from.all + 1, from.inPlace + 1, true}
	w.ways[part] = from
	return from
}

// weigh notes a part that holds values against a draft's own schema, where nothing
// is counted. Only the compiled part shows it: the text of the reference may be
// relative.
func (w *walk) weigh(part *jsonschema.Schema) {
	if w.schema.work == nil || !drafts()[part.Ref] && !drafts()[part.RecursiveRef] && !drafts()[part.DynamicRef] {
		return
	}
	w.schema.work.drafts = true
	p, ok := part.Extensions["work"].(*weight)
	if !ok { // before draft 2019-09 nothing beside a $ref is compiled
		p = &weight{work: w.schema.work, self: 2, inPlace: 1}
		part.Extensions = map[string]jsonschema.ExtSchema{"work": p}
	}
	p.draft = true
}

// drafts are the drafts' own schemas that the library has loaded. It gives the
// same ones to each compiler, so that they are known by their identity: a schema
// may give itself any URL.
var drafts = sync.OnceValue(func() map[*jsonschema.Schema]bool {
	all := make(map[*jsonschema.Schema]bool)
	for _, url := range []string{
		"http://json-schema.org/draft-04/schema", "http://json-schema.org/draft-06/schema", "http://json-schema.org/draft-07/schema",
		"https://json-schema.org/draft/2019-09/schema", "https://json-schema.org/draft/2020-12/schema",
	} {
		all[jsonschema.NewCompiler().MustCompile(url)] = true
	}
	return all
})

// follow visits what a part leads to: for the same value by stay, for those that
// the value holds by leave.
func (w *walk) follow(part *jsonschema.Schema, stay, leave func(*jsonschema.Schema)) {
	for _, one := range []*jsonschema.Schema{part.Ref, part.RecursiveRef, part.DynamicRef, part.Not, part.If, part.Then, part.Else} {
		stay(one)
	}
	for _, many := range [][]*jsonschema.Schema{part.AllOf, part.AnyOf, part.OneOf} {
		for _, one := range many {
			stay(one)
		}
	}
	for _, one := range part.DependentSchemas {
		stay(one)
	}
	for _, one := range part.Dependencies {
		each(one, stay)
	}
	for _, one := range []*jsonschema.Schema{part.PropertyNames, part.UnevaluatedProperties, part.Items2020, part.Contains, part.UnevaluatedItems, part.ContentSchema} {
		leave(one)
	}
	for _, one := range part.PrefixItems {
		leave(one)
	}
	for _, one := range part.Properties {
		leave(one)
	}
	for _, one := range part.PatternProperties {
		leave(one)
	}
	each(part.AdditionalProperties, leave)
	each(part.Items, leave)
	each(part.AdditionalItems, leave)
}

func each(v any, visit func(*jsonschema.Schema)) {
	switch v := v.(type) {
	case *jsonschema.Schema:
		visit(v)
	case []*jsonschema.Schema:
		for _, one := range v {
			visit(one)
		}
	}
}

package schema

import "toolhand/internal/document"

// place is what stands somewhere in a schema: a name of a property may be that of a
// keyword, and a value that of a part.
type place int

const (
	asPart  place = iota // a schema, or a list of them
	asNames              // names, each with a schema
	asOther              // below a keyword that is not known: a reference may lead there
	asData               // a value
)

// below is what stands at a key of a place.
func (p place) below(key string) place {
	switch p {
	case asNames:
		return asPart
	case asOther:
		return asOther
	}
	switch key {
	case "const", "enum", "default", "examples":
		return asData
	case "properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies":
		return asNames
	case "additionalProperties", "propertyNames", "unevaluatedProperties", "unevaluatedItems", "items", "additionalItems",
		"prefixItems", "contains", "contentSchema", "allOf", "anyOf", "oneOf", "not", "if", "then", "else":
		return asPart
	}
	return asOther
}

// each visits the mappings at a place that may be parts.
func (p place) each(n *document.Node, visit func(*document.Node)) {
	if n.Kind == document.Mapping && p != asNames {
		visit(n)
	}
	for i, item := range n.Items {
		next := p
		if n.Kind == document.Mapping {
			next = p.below(n.Keys[i].Text)
		}
		if next != asData {
			next.each(item, visit)
		}
	}
}

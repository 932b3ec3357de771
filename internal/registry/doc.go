// Package registry reads tools.d: one manifest a tool, its input schema
// compiled once, and the set of tools in force.
//
// Load is pure. It builds a whole new [Set] beside the old one or returns
// [*Errors], which lists everything that is wrong in every manifest, with file,
// line and column. `tools check` is Load; a [Registry] holds the set in force
// and Reload swaps it in one step if the new one is good, so a broken manifest
// never replaces one that works. Sets and tools are immutable: a call keeps the
// [*Tool] that it was given.
//
// YAML and JSON files both become a tree of nodes that know their places; the
// strict reading, the schema and the places of its errors come from that one
// tree, so numbers keep their digits and keys their order.
//
// What a manifest may say stands in one schema: keys, types, bounds, defaults. It is put
// together of manifest.schema.json and a part of each kind of handler, which stands in the
// handler's package, beside the struct that its keys are read into; kinds.go has a line
// for each kind. Editors use the schema ([ManifestSchema]), and so does Load: the readers
// know no key that it lacks and take their bounds from it, and nothing is taken that
// it refuses. Go adds what a schema can't say, and most of the words; a test writes
// many values at every key and lets both judge.
//
// [Tool.Validate] takes hostile inputs. The validator has no context, so an
// input passes bounds on its size, depth, values, numbers and paths before it;
// they were chosen so that the worst input known takes about a second.
package registry

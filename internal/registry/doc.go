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
// [Tool.Validate] takes hostile inputs. The validator has no context, so an
// input passes bounds on its size, depth, values, numbers and paths before it;
// they were chosen so that the worst input known takes about a second.
package registry

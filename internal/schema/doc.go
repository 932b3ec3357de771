// Package schema works with JSON Schemas (draft 2020-12 unless a schema says otherwise):
// it compiles them within bounds, checks values within bounds, and explains what is wrong
// in one voice.
//
// A [Schema] is that of a tool's input, from wherever it came: begin at [Compile]. A
// [Form] is the program's own, of a file that people write: begin at [NewForm].
package schema

// Package document reads the files that people write, YAML and JSON, into one kind of
// tree that knows the place of each value, and collects all that is wrong with a file
// with its line, column and key. Reading is bounded in bytes, values and depth, so that
// a slip in a file, or a text from outside, takes nothing down.
//
// Begin at [Parse]; [Decode] fills a struct from a tree whose form was judged.
package document

// Package control is how the benchmark talks to its processes: the parent writes
// a request as a line of JSON to a child's standard input, the child answers with
// one on its standard output, one after another. A child whose input ends, ends:
// no process of the benchmark outlives it.
package control

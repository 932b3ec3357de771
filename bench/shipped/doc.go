// Package shipped runs the worker that cmd/worker runs, opened by the same code, but
// for two things that the benchmark needs and no configuration can say: its tools are
// Go functions, as those of the other competitors are, and its journal can be off (in
// memory).
package shipped

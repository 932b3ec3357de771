// Mutants puts known faults into the code, one at a time, and looks whether a test
// notices. A fault is a text of one file and what stands in its place; `go test
// -overlay` compiles it without touching the tree. Each was once put in by hand,
// and no test failed: the table keeps that from coming back. Constants and calls
// left out are here because gremlins, which `make mutants` runs behind this over
// whole packages, changes operators only.
//
// It exits 1 if a fault survives, no longer fits the code, or can't be compiled.
package main

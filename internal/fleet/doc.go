// Package fleet decides which sessions this worker serves, and serves them: one
// [loop.Session] each, attached and detached at any time, drained together.
//
// One goroutine, Serve's, owns the set; every other method hands it a function
// to run. A session that panics is logged and attached again: the others go on,
// and what the journal says of its calls is what counts.
package fleet

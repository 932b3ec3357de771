// Package handlertest is the conformance suite of tool handlers: what every kind
// must do, whatever it speaks to its other end.
//
// A kind joins by a [Peer]: how to make a handler whose other end does what a
// [Behaviour] says. The other end itself is the same for all kinds: [Serve] reads
// the input and writes the answer, and the kind's own part (a child process's
// main, an HTTP server's handler, a subscription) only carries the bytes and
// tells what it knows of the call. So a kind can't pass by a weaker other end.
//
// The suite looks for leaks after each test: goroutines, file descriptors, and
// processes below this one. Run it from a test that is not parallel.
package handlertest

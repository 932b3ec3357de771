// Package guard counts what the worker spends: allocations and bytes an event, a
// call and a quiet session, system calls and requests a turn. Its tests hold the
// counts against limits, so that a change which makes the hot path dearer is seen
// at once. Nothing is timed: counts are the same on a busy machine.
//
// The worker runs in the test's own process, and the API in another one, so that
// what is counted is the worker's. Benchmarks print the same counts. The race
// detector changes them, so they are taken without it.
package guard

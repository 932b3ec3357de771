// Package run takes one call from its slot to its outcome: the same for the calls of
// a session, of a person at a terminal, and of other workers.
//
// A [Run] is one goroutine's straight line ([Run.Do]):
//
//	check ─▶ slot ─▶ journal ─▶ handler ─▶ outcome
//	          ▲                    │
//	          └────── wait ◀───────┘ the handler could not be reached, or its answer
//	                                 was lost and the call may run twice
//
// Its context carries the deadline and why the run ends. Each step looks at it, so
// that an interrupt between any two of them is seen, and the [End] says what was begun:
// what was written to the journal as started and did not run can be taken back.
//
// At the deadline the call has its answer, also where a handler ignores its context
// or the journal is silent: then the end is told twice, the second time when nothing
// of the run goes on any more.
package run

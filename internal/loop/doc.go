// Package loop serves one session: it follows the session's events, runs the
// calls in it, and sends the results of each turn in one batch.
//
// The heart is the ledger (ledger.go and the files beside it): the calls of one
// session and their states, a pure value without I/O, clock, goroutine or lock.
// [ledger.Step] takes what has happened (an event, an outcome) and the time, and
// gives back what to do now and when to be woken:
//
//	held ─▶ pending ─▶ running ─▶ finished ─▶ ended
//	            ▲         │
//	            └─────────┘ taken back while draining
//
// From each of them a call goes to ended where nobody waits for it any more: it is
// denied, interrupted, answered elsewhere, or its session is over.
//
// held: it waits for permission. pending: it is about to run, or while draining is left
// to the next worker. running: a run has it (package run). finished: its answer stands,
// and will never be another one, except that a result which the API refuses is replaced
// once by a short error. ended: such a call stays until nothing of it is under way and
// its journal entry is forgotten. Beside these, ignored is a call of a tool that others
// have, and foreign one that another worker has started.
//
// Around the ledger, [Session.Serve] owns it in one goroutine and does what it says:
//
//	stream.go    follows the event stream and reconnects
//	read.go      reads the history, newest first, as far as it matters
//	run/         one goroutine a call: check, slot, journal, handler
//	send.go      one send in flight at most
//	slots/       the slots of the process, shared fairly among sessions
//
// All of these report back as inputs, so that the ledger alone decides. A
// failure of theirs is an input too. Nothing in this package waits without a
// bound: each wait has a deadline or a context beside it.
//
// What must outlive the process goes through a [Journal]; [journal.Memory] is the one
// that outlives nothing.
package loop

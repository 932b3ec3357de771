// Package journal keeps what must survive of a call: that it was started, and
// what it came to. It works on the JetStream that it is given, embedded or
// external, one server or a cluster, and knows nothing of what a call is.
//
// An entry is a key of a bucket, SESSION.CALL (ids that are not plain stand
// there by their digests). Its value is a line of JSON, and behind it the result
// byte for byte. `nats kv get` shows it.
//
// # Durability
//
// An operation that returned without an error is as durable as the server makes
// it: embedded with sync always, on disk; with sync interval, it survives the
// process, and the last interval is lost with the machine; external, what that
// server promises. A lost Forget does no harm: the entry is found again, and the
// history says that its call is answered. A lost Start or Finish voids "at most
// once".
//
// An entry does not expire by itself, and none is dropped for another: a full
// bucket refuses writes. What nobody names to [Journal.Forget] stays, but for
// what [Journal.Expire] is told will never be sent.
//
// # Order and fences
//
// Every write is a compare-and-swap on the entry's revision, which the server
// decides: of two owners that start one call, one succeeds, and whoever writes
// over a revision that is not the last gets [ErrOwned] or, where the entry is its
// own, writes over the last. A Forget drops an entry up to the revision that this
// journal knows, and never what was written since. Reads decide nothing by
// themselves: one that is stale leads to another refusal, not to a second start.
//
// Operations on one call follow one another; that is the caller's duty. Those on
// different calls may run at once. [Journal.Recover] comes before the first write
// of its session.
//
// # When an operation's own outcome is unknown
//
// It returns an error (a timeout, a lost connection, a full disk): it may have
// been done, may be done yet, or never. Doing it again does no harm:
//
//	Start    finds its own entry and succeeds with that revision, or is the
//	         first; another owner's Start gets ErrOwned from then on if the
//	         lost one was written
//	Finish   finds the same result under the same owner and succeeds, or writes
//	         over what its owner wrote, another result of it included
//	Forget   reads what stands where it does not know, and drops it; a purge
//	         that comes late is kept off newer writes by its revision
//
// A lost write that the server takes only after a Forget can leave one case: a
// Start that comes to life behind the Forget of its own call. Such an entry is
// settled like any other at the next Recover: the history has the answer.
//
// Each operation ends with its context or [Options.Timeout], whichever server is
// away or wedged.
package journal

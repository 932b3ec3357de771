// Package tools holds what a tool call is and how it is run: the call, its
// result, and the handlers, one file each. It knows nothing else of toolhand.
//
// A handler runs one call and returns one result. A tool's own failure (an exit
// status, an HTTP error, isError) is a [Result] whose IsError is set. An error
// means that the call could not be run, or that its answer was lost, and says
// which by its type: [*UnavailableError] where the call surely did not run,
// [*LostError] where it may have. Any other error counts as lost, since that is
// the careful reading.
//
// The deadline belongs to the caller: it answers for a handler that hangs.
// A handler's duty is to stop when its context ends, and to return only when
// nothing of the call runs any more, because its return frees the tool's slot.
// Where a server is shared by many calls (mcp) that can't be known: the server is
// told, and what it then does is its own.
//
// Whatever a handler's other end sends goes through one collector, which holds a
// bounded part of it: the beginning and the end of a text, or up to
// [MaxStructured] of what may be content blocks. So a call's memory is bounded,
// whoever is at the other end.
//
// A nats handler asks on one subject and waits. Nobody there is known at once, and
// passes; a connection that breaks makes the outcome unknown at once, since the
// reply would go to nobody; a handler that dies is not noticed before the deadline.
// It buffers nothing while the server is away: what was told to have failed must not
// run later. When the call is over before its reply, toolhand.cancel.ID is told.
//
// [Processes] owns the process trees of programs. A tree is told by a cgroup of
// its own, or by marks that a process can't shed by accident; decision 1 in
// docs/decisions has the reasons and the numbers. Goroutines: one for the thread
// that forks, as long as Processes is open; one a running program, which waits
// for it, and os/exec's three, which carry its input and outputs.
package tools

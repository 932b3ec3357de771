// Package tools holds what a tool call is: the call, its result, and what runs it. Each
// kind of handler is a package below this one, with the configuration that a manifest gives
// it. It knows nothing else of toolhand.
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
package tools

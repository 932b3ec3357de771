// Package serve offers the tools of this machine over NATS, so that session
// workers elsewhere use them.
//
// Each tool is an endpoint of a NATS micro service on toolhand.tool.NAME, in one
// queue group with all others that serve it, so that a call goes to one of them.
// The endpoint's metadata announces the tool: its name, description, schema,
// deadline and whether it may run twice (toolhand.*). A call runs as a session's does
// ([run.Once]): its input is checked, it waits for its slots, it ends at its deadline,
// and what calls off a call (toolhand.cancel.ID) stops its tool.
//
// A reply carries the result's content blocks and what the call came to. Nothing
// is remembered of a call that has ended: who asks keeps the journal, and asks
// once. When the server drains it takes no more calls, so that they go to the
// others; what it has to stop at the end of the grace is answered as an unknown
// outcome.
//
// With [Config.Queue] it works off the job queue too (docs/queue.md): for each tool
// one request at a time asks for one job that can begin at once. A job that may not
// run twice is begun by a claim; the result is handed in until the server has it,
// and then the job is acknowledged. No request is given up while it stands.
package serve

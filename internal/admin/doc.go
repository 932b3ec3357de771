// Package admin is the address for operators and their machines: alive, ready,
// and what the worker is doing. It knows nothing else of toolhand: the command
// registers what each part can say of itself.
//
// Nothing that is asked here can hold anything else up. Parts answer with
// snapshots by value; one that does not answer within a second is reported as
// such, is not asked again before it has answered, and makes the worker unready:
// what can't say how it is is not well. A client has seconds to ask and to read.
//
// Who may ask: on loopback everybody on this machine, but not a web page in a
// browser there, which would come with a Host that is not ours; elsewhere, or
// when a token is given, who shows the token. /healthz is free, since what kills
// a worker that does not answer has no token.
//
// A new path is one line in routes; what it shows is registered like the rest.
package admin

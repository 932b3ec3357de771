// Package limit is the leanest loop that can be written by hand: raw net/http, one
// goroutine a session, a look at the few bytes of an event that matter, one send a
// turn. It checks nothing, retries nothing, survives nothing. It is the practical
// limit that the worker is measured against.
package limit

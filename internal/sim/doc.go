// Package sim is the simulated Managed Agents API: the only fake of the
// upstream there is. The demo, the tests and tool authors use the same one.
//
// A [Server] is an http.Handler over sessions that are driven from Go
// ([Server.Session]) or by a YAML script ([LoadScript], [Server.Play]). It has
// no goroutine of its own: what happens, happens in a request or in a call of
// its methods, so that it runs inside a testing/synctest bubble and over
// net.Pipe.
//
// The state of a session is guarded by its mutex, which is never held while
// waiting or writing to a connection: an open stream has a queue of frames and
// a channel that wakes it. An event costs as much as its session has streams.
// processed_at rises strictly within a session, by a microsecond at least, even
// when the clock stands still.
//
// A client's event is accepted (queued, processed_at null, echoed), then
// processed (echoed again). The two steps follow one another unless
// [Session.HoldQueue] holds them apart.
//
// A [Fault] is a wrapper around the handler of a request, chosen by session,
// endpoint and count. Faults of streams wrap the writer: the stream's handler
// writes one frame a Write.
package sim

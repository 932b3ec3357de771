// Package bus is the worker's connection to NATS: to a server embedded in this
// process, or to an external one. It knows nothing of what goes over it.
//
// Embedded, nats-server runs as a library, without a port of its own, and its
// JetStream keeps its files in a store that a file lock reserves for one process:
// nats-server itself does not notice a second one, and both would ruin the files.
// With a SyncInterval of zero everything that was acknowledged is on disk; else it
// survives the process, and what the last interval wrote does not survive the machine.
//
// The server opens damaged files without a word, and what it can't read is gone:
// the store is marked then, as one that something may be missing from. [Bus.Damage]
// is that mark, which expires; [Trust] clears it. Beside the server's files stands what
// a stream must have at least ([Witness], in the folder toolhand.witness): less than
// that at a start is damage. A file that can't be opened is none, and ends the start.
// Who only wants to look opens a copy ([CopyStream]), so that the next start finds the same.
//
// There are two accounts. The worker's own holds JetStream and with it the
// journal; only the connection made here is in it, shown by a secret that lives
// as long as the process. Whoever comes by Listen is in the other one, and reaches
// there the subjects of tools, $SRV.>, toolhand.cancel.>, the inbox of its user name
// and the consumers of the job queue. An answer needs the random reply subject of the
// request; results go to [natswire.HandInSubjects], where they are checked by whoever knows the jobs.
// The server has no port: a listener of ours takes the connections, and lets no client
// name a reply subject but an inbox of its own.
//
// External, the connection is tried until StartTimeout, and once made it is made
// again for ever. While it is away nothing is buffered: a publish fails at once,
// so that what was reported as failed is not done later by a buffer.
//
// Goroutines: the server's and the connection's own, and for an embedded server
// one that watches the store (space, and whether a file can be written), one that
// keeps how far its streams are, and with Listen one that takes connections and two for
// each. All are gone when [Bus.Close] has returned without an error.
package bus

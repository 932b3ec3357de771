// Package queue runs calls as jobs in a stream of NATS JetStream, which whoever offers the
// tool works off, and takes their results from another stream. A job outlives the worker:
// its handler is a [toolhand/internal/tools.Resumer].
package queue

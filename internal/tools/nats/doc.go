// Package nats runs a call as a request on a NATS subject. Nobody there is known at once,
// and passes; a connection that breaks makes the outcome unknown at once, since the reply
// would go to nobody; a handler that dies is not noticed before the deadline. It buffers
// nothing while the server is away: what was told to have failed must not run later. When
// the call is over before its reply, its cancel subject is told.
package nats

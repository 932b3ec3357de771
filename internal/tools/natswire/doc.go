// Package natswire is our NATS protocol: every subject, header, claim and outcome of it is
// written and read here, and nowhere else. docs/queue.md describes it.
package natswire

package loop

import (
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/upstream"
)

// verdicts are what users have decided on calls that are not known yet: an answer
// on the stream can be read before its call in the history.
type verdicts struct{ allowed, denied idSet }

func (v *verdicts) reset() { v.allowed, v.denied = newIDSet(), newIDSet() }

func (v *verdicts) add(id string, allow bool) {
	if allow {
		v.allowed.add(id)
	} else {
		v.denied.add(id)
	}
}

// rotate forgets what is two turns old.
func (v *verdicts) rotate() {
	v.allowed.rotate()
	v.denied.rotate()
}

// permission is what is known of a new call's permission: given, denied, or
// something else, with which it waits.
func (l *ledger) permission(e upstream.Event) string {
	switch {
	case e.Permission == "" || e.Permission == upstream.PermissionAllow:
		return upstream.PermissionAllow
	case e.Permission == upstream.PermissionDeny || l.verdicts.denied.has(e.ID):
		return upstream.PermissionDeny
	case l.verdicts.allowed.has(e.ID):
		return upstream.PermissionAllow
	}
	return e.Permission
}

// hold lets a call wait for its permission. It has no deadline, owes no answer,
// and nothing of it is in the journal. Nobody can have started it, whatever the
// journal has lost.
func (l *ledger) hold(c *call) {
	c.state, c.doubted = held, false
	l.emit(notice{text: "call waits for permission", args: []any{"tool", c.name, "call", c.id, "permission", c.permission}})
}

// confirm takes in what a user has decided on a call. Where that is still queued
// the API refuses a result, and nothing is decided yet. While draining, a release
// is left to the next worker, which finds it in the history.
func (l *ledger) confirm(e upstream.Event) {
	if e.ProcessedAt.IsZero() || e.CallID == "" {
		return
	}
	allow := e.Permission == upstream.PermissionAllow
	c := l.byID[e.CallID]
	switch {
	case c == nil && !l.done.has(e.CallID):
		l.verdicts.add(e.CallID, allow)
	case c == nil || c.state != held && c.state != ignored:
	case !allow:
		l.drop(c, run.Denied, errDenied)
	case c.state == ignored:
		c.permission = upstream.PermissionAllow
	case !l.draining:
		l.release(c)
	}
}

// release lets a call go on whose permission was given: it counts as received now.
func (l *ledger) release(c *call) {
	c.permission, c.received = upstream.PermissionAllow, l.now
	if c.tool == nil {
		c.tool, _ = l.set.Lookup(c.name)
	}
	l.emit(notice{text: "permission given", args: []any{"tool", c.name, "call", c.id}})
	l.begin(c)
}

// forgetHeld ends the calls that an ended turn left waiting for permission: at
// the next end of a turn, since what came late may still release them. A call that is
// younger than the end is of another turn: the history may tell of it before the stream
// tells of the end.
func (l *ledger) forgetHeld(at time.Time) {
	for _, c := range l.calls {
		switch {
		case c.state != held || !at.IsZero() && c.processedAt.After(at):
		case c.stale:
			l.drop(c, run.Over, errOver)
		default:
			c.stale = true
		}
	}
}

package loop

import "time"

// threads is what is known of a session's threads. The primary thread has two
// names: none, on its calls, and its id, in the status events of threads and
// perhaps in an interrupt.
type threads struct {
	primary  string               // the primary thread's id; empty: not known yet
	finding  bool                 // it is being looked for
	children map[string]struct{}  // threads that are surely not the primary one
	cut      map[string]time.Time // calls of a thread processed until then are interrupted
	cutAll   time.Time            // the same for all threads
	dead     map[string]struct{}  // threads that have terminated
}

func (t *threads) reset() {
	t.children, t.cut, t.dead = map[string]struct{}{}, map[string]time.Time{}, map[string]struct{}{}
}

// rotate forgets what only concerned calls before an ended turn.
func (t *threads) rotate() {
	clear(t.cut)
	clear(t.dead)
	if t.primary != "" {
		clear(t.children)
	}
}

func (t *threads) child(id string) {
	if id != "" && id != t.primary {
		t.children[id] = struct{}{}
	}
}

func (t *threads) found(primary string) {
	t.finding = false
	if t.primary == "" && primary != "" {
		t.primary = primary
		delete(t.children, primary)
	}
}

// ambiguous reports whether id may be the primary thread's and may not.
func (t *threads) ambiguous(id string) bool {
	if id == "" || t.primary != "" {
		return false
	}
	_, child := t.children[id]
	return !child
}

// interrupt notes an interrupt that was processed at the given time.
func (t *threads) interrupt(id string, at time.Time) {
	if id == "" {
		t.cutAll = later(t.cutAll, at)
		return
	}
	t.cut[id] = later(t.cut[id], at)
}

// interrupted reports whether a call of a thread is invalid: processed no later
// than an interrupt that concerns it.
func (t *threads) interrupted(thread string, processedAt time.Time) bool {
	if processedAt.IsZero() {
		return false
	}
	cut := later(t.cutAll, t.cut[thread])
	if thread == "" && t.primary != "" {
		cut = later(cut, t.cut[t.primary])
	}
	return !cut.IsZero() && !processedAt.After(cut)
}

// gone reports whether a call's thread has terminated.
func (t *threads) gone(thread string) bool {
	if thread == "" {
		thread = t.primary
	}
	_, dead := t.dead[thread]
	return dead && thread != ""
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

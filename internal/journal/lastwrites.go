package journal

import (
	"strings"
	"sync"
)

// lastWrites is the revision of the last write of each entry that stands, as far as
// this process has written or read it. A purge up to it asks nothing first, and drops
// nothing that was written since.
type lastWrites struct {
	mu sync.Mutex
	// writes is guarded by mu; by session and key.
	writes map[string]map[string]lastWrite
	// highest is guarded by mu: what is written from now on gets a higher revision.
	highest uint64
	// before is guarded by mu: sessions that may have entries which are not in
	// writes. It means nothing where others write too.
	before map[string]bool
}

// lastWrite is what is known of the last write of a key.
type lastWrite struct {
	revision uint64 // 0: its outcome is not known, or not yet
	lowest   uint64 // no revision of the key that may stand is below
}

func sessionOf(k string) string {
	session, _, _ := strings.Cut(k, ".")
	return session
}

// set keeps the revision of a key; 0: it is being written.
func (w *lastWrites) set(k string, revision uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setLocked(k, revision)
}

// setLocked is called under mu.
func (w *lastWrites) setLocked(k string, revision uint64) {
	session := sessionOf(k)
	if w.writes[session] == nil {
		if w.writes == nil {
			w.writes = map[string]map[string]lastWrite{}
		}
		w.writes[session] = map[string]lastWrite{}
	}
	now := lastWrite{revision, revision}
	if w.highest = max(w.highest, revision); revision == 0 {
		now.lowest = w.highest + 1
		if old, stands := w.writes[session][k]; stands {
			now.lowest = old.lowest
		}
	}
	w.writes[session][k] = now
}

// recovered keeps the entries of a whole session, as they were read. What was
// written meanwhile is known better.
func (w *lastWrites) recovered(session string, found []Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range found {
		k := key(e.Session, e.Call)
		if _, ok := w.writes[session][k]; !ok {
			w.setLocked(k, e.Revision)
		}
	}
	delete(w.before, session)
}

// drop takes out keys of which nothing stands any more.
func (w *lastWrites) drop(keys ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range keys {
		session := sessionOf(k)
		delete(w.writes[session], k)
		if len(w.writes[session]) == 0 {
			delete(w.writes, session)
		}
	}
}

// revision is that of a key's last write, 0 where it is not known.
func (w *lastWrites) revision(k string) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writes[sessionOf(k)][k].revision
}

// together reports whether a purge of a session up to a revision drops the entries of
// keys and no others: each of those is at a known revision, of which upTo is the highest,
// and what else the session has was written after it.
func (w *lastWrites) together(session string, keys []string) (upTo uint64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.writes[session]
	if w.before[session] {
		return 0, false
	}
	named := 0
	for _, k := range keys {
		last, there := all[k]
		if !there {
			continue // nothing stands there
		}
		if last.revision == 0 {
			return 0, false
		}
		named++
		upTo = max(upTo, last.revision)
	}
	for _, last := range all {
		if last.lowest <= upTo {
			named--
		}
	}
	return upTo, upTo > 0 && named == 0
}

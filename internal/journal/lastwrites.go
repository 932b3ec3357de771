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
	// revisions is guarded by mu; by session and key. 0: the outcome of the last write
	// is not known, or not yet.
	revisions map[string]map[string]uint64
	// before is guarded by mu: sessions that may have entries which are not in
	// revisions. It means nothing where others write too.
	before map[string]bool
}

func sessionOf(k string) string {
	session, _, _ := strings.Cut(k, ".")
	return session
}

// set keeps the revision of a key.
func (w *lastWrites) set(k string, revision uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setLocked(k, revision)
}

// setLocked is called under mu.
func (w *lastWrites) setLocked(k string, revision uint64) {
	session := sessionOf(k)
	if w.revisions[session] == nil {
		if w.revisions == nil {
			w.revisions = map[string]map[string]uint64{}
		}
		w.revisions[session] = map[string]uint64{}
	}
	w.revisions[session][k] = revision
}

// recovered keeps the entries of a whole session, as they were read. What was
// written meanwhile is known better.
func (w *lastWrites) recovered(session string, found []Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range found {
		k := key(e.Session, e.Call)
		if _, ok := w.revisions[session][k]; !ok {
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
		delete(w.revisions[session], k)
		if len(w.revisions[session]) == 0 {
			delete(w.revisions, session)
		}
	}
}

// revision is that of a key's last write, 0 where it is not known.
func (w *lastWrites) revision(k string) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.revisions[sessionOf(k)][k]
}

// whole reports whether keys are all that a session has, each at a known
// revision, and which is the highest of those. What is written from then on gets
// a higher one.
func (w *lastWrites) whole(session string, keys []string) (highest uint64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.revisions[session]
	if w.before[session] || len(all) == 0 {
		return 0, false
	}
	named := 0
	for _, k := range keys {
		revision, there := all[k]
		if !there {
			continue // nothing stands there
		}
		if revision == 0 {
			return 0, false
		}
		named++
		highest = max(highest, revision)
	}
	return highest, named == len(all)
}

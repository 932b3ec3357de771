package journal

import (
	"strings"
	"sync"
)

// known is what a journal knows of the entries that stand: their revisions, by
// session and key, as far as this process has written or read them.
type known struct {
	mu sync.Mutex
	// revisions is guarded by mu. A revision of 0 is that of a write whose
	// outcome is not known, or not yet.
	revisions map[string]map[string]uint64
	// before is guarded by mu: sessions that may have entries which are not in
	// revisions. It means nothing where others write too.
	before map[string]bool
}

func sessionOf(k string) string {
	session, _, _ := strings.Cut(k, ".")
	return session
}

// wrote keeps a revision, and that there is a key.
func (n *known) wrote(k string, revision uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.set(k, revision)
}

// set is called under mu.
func (n *known) set(k string, revision uint64) {
	session := sessionOf(k)
	if n.revisions[session] == nil {
		if n.revisions == nil {
			n.revisions = map[string]map[string]uint64{}
		}
		n.revisions[session] = map[string]uint64{}
	}
	n.revisions[session][k] = revision
}

// recovered keeps the entries of a whole session, as they were read. What was
// written meanwhile is known better.
func (n *known) recovered(session string, found []Entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range found {
		k := key(e.Session, e.Call)
		if _, ok := n.revisions[session][k]; !ok {
			n.set(k, e.Revision)
		}
	}
	delete(n.before, session)
}

// gone drops keys.
func (n *known) gone(keys ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range keys {
		session := sessionOf(k)
		delete(n.revisions[session], k)
		if len(n.revisions[session]) == 0 {
			delete(n.revisions, session)
		}
	}
}

// revision is that of a key's last write, 0 where it is not known.
func (n *known) revision(k string) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.revisions[sessionOf(k)][k]
}

// whole reports whether keys are all that a session has, each at a known
// revision, and which is the highest of those. What is written from then on gets
// a higher one.
func (n *known) whole(session string, keys []string) (highest uint64, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.revisions[session]
	if n.before[session] || len(all) == 0 {
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

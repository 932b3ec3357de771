package journal

import (
	"slices"
	"strings"
	"sync"
)

// known is what a journal knows of the entries that stand, by session and key, as
// far as this process has written or read them.
type known struct {
	mu      sync.Mutex
	entries map[string]map[string]stand // guarded by mu
	highest uint64                      // guarded by mu; the highest revision seen
	// before is guarded by mu: sessions that may have entries which are not in
	// entries. It means nothing where others write too.
	before map[string]bool
}

// stand is where an entry stands.
type stand struct {
	// last is its last revision, 0 where the outcome of a write is not known, or
	// not yet.
	last uint64
	// least is a revision that none of it lies below, as far as it matters: that
	// of its last write counts alone where it was read.
	least uint64
}

func sessionOf(k string) string {
	session, _, _ := strings.Cut(k, ".")
	return session
}

// wrote keeps a revision, and that there is a key. 0: a write begins, and what it
// will get is higher than all that was seen.
func (n *known) wrote(k string, revision uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.set(k, revision)
}

// set is called under mu.
func (n *known) set(k string, revision uint64) {
	session := sessionOf(k)
	all := n.entries[session]
	if all == nil {
		if n.entries == nil {
			n.entries = map[string]map[string]stand{}
		}
		all = map[string]stand{}
		n.entries[session] = all
	}
	s, there := all[k]
	switch {
	case there:
	case revision == 0:
		s.least = n.highest + 1
	default:
		s.least = revision
	}
	s.last = revision
	if revision > 0 {
		s.least = min(s.least, revision)
	}
	all[k] = s
	n.highest = max(n.highest, revision)
}

// recovered keeps the entries of a whole session, as they were read. What was
// written meanwhile is known better.
func (n *known) recovered(session string, found []Entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range found {
		k := key(e.Session, e.Call)
		if _, ok := n.entries[session][k]; !ok {
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
		n.drop(k)
	}
}

// drop is called under mu.
func (n *known) drop(k string) {
	session := sessionOf(k)
	delete(n.entries[session], k)
	if len(n.entries[session]) == 0 {
		delete(n.entries, session)
	}
}

// goneBelow drops keys unless they were written since, at mark or above.
func (n *known) goneBelow(mark uint64, keys ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range keys {
		if s, ok := n.entries[sessionOf(k)][k]; ok && s.last != 0 && s.last < mark {
			n.drop(k)
		}
	}
}

// revision is that of a key's last write, 0 where it is not known.
func (n *known) revision(k string) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.entries[sessionOf(k)][k].last
}

// whole reports whether keys are all that a session has, each at a known
// revision, and which is the highest of those. What is written from then on gets
// a higher one.
func (n *known) whole(session string, keys []string) (highest uint64, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.entries[session]
	if n.before[session] || len(all) == 0 {
		return 0, false
	}
	named := 0
	for _, k := range keys {
		s, there := all[k]
		if !there {
			continue // nothing stands there
		}
		if s.last == 0 {
			return 0, false
		}
		named++
		highest = max(highest, s.last)
	}
	return highest, named == len(all)
}

// mark is the revision below which nothing stands that is to stay, if keys are to
// go; 0 where it is not known. What is written from then on gets a higher one.
func (n *known) mark(keys map[string]bool) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.before) > 0 {
		return 0
	}
	mark := n.highest + 1
	for _, all := range n.entries {
		for k, s := range all {
			if !keys[k] {
				mark = min(mark, s.least)
			}
		}
	}
	return mark
}

// below reports whether all keys that stand do so below mark.
func (n *known) below(mark uint64, keys []string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !slices.ContainsFunc(keys, func(k string) bool {
		s, ok := n.entries[sessionOf(k)][k]
		return ok && (s.last == 0 || s.last >= mark)
	})
}

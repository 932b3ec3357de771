package journal

import (
	"hash/maphash"
	"sync"
)

// Witness keeps what the bucket must have at least, where its files are not: that
// everything up to a revision was acknowledged, and how many entries stand. After an
// error nothing must be dropped.
type Witness interface {
	Stands(last uint64, entries int) error
}

// standingEntries are the entries that stand, as the witness is told.
type standingEntries struct {
	seed maphash.Seed // immutable after Open

	mu   sync.Mutex
	keys map[uint64]struct{} // guarded by mu; hashes of those that surely stand
	last uint64              // guarded by mu
}

// stand tells the witness of keys that stand, the highest of them at a revision that
// was acknowledged.
func (j *Journal) stand(revision uint64, keys ...string) {
	_ = j.tell(revision, func(hash uint64) { j.standing.keys[hash] = struct{}{} }, keys)
}

// leave tells the witness of keys that are about to be dropped: before they are, so
// that there is never less than it says.
func (j *Journal) leave(keys ...string) error {
	return j.tell(0, func(hash uint64) { delete(j.standing.keys, hash) }, keys)
}

func (j *Journal) tell(revision uint64, each func(hash uint64), keys []string) error {
	if j.opts.Witness == nil || !j.opts.Sole {
		return nil
	}
	s := &j.standing
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		each(maphash.String(s.seed, k))
	}
	s.last = max(s.last, revision)
	return j.opts.Witness.Stands(s.last, len(s.keys))
}

package sim

import (
	"encoding/json"
	"math"
	"slices"
	"sort"
	"time"
)

// entry is one event as the history shows it. It is not written to once it is
// in a history.
type entry struct {
	seq  int64
	at   time.Time // processed_at; zero while queued
	typ  string
	id   string
	data json.RawMessage
}

// key orders events: by processed_at, then by arrival. Queued ones, whose
// processed_at lies in the future, come last.
type key struct{ at, seq int64 }

func (e *entry) key() key {
	if e.at.IsZero() {
		return key{math.MaxInt64, e.seq}
	}
	return key{e.at.UnixNano(), e.seq}
}

func (k key) less(o key) bool { return k.at < o.at || k.at == o.at && k.seq < o.seq }

// window is an open interval of keys.
type window struct {
	low, high key
	timed     bool // bounded by time: a queued event has none to compare
}

func allTime() window {
	return window{low: key{math.MinInt64, 0}, high: key{math.MaxInt64, math.MaxInt64}}
}

// history keeps the events of a session in order, as a whole and by type, so
// that a page costs its size and not the session's age. Guarded by its
// session's mutex.
type history struct {
	all    []*entry
	byType map[string][]*entry
	queued []*entry
}

// add puts a processed event in its place, which is the end for all but raw
// events with a processed_at of their own.
func (h *history) add(e *entry) {
	if h.byType == nil {
		h.byType = map[string][]*entry{}
	}
	h.all = insert(h.all, e)
	h.byType[e.typ] = insert(h.byType[e.typ], e)
}

func insert(track []*entry, e *entry) []*entry {
	k := e.key()
	if n := len(track); n == 0 || track[n-1].key().less(k) {
		return append(track, e)
	}
	i := sort.Search(len(track), func(i int) bool { return k.less(track[i].key()) })
	return slices.Insert(track, i, e)
}

// unqueue takes the queued event with this id out.
func (h *history) unqueue(id string) {
	h.queued = slices.DeleteFunc(h.queued, func(e *entry) bool { return e.id == id })
}

// page returns up to limit events of these types (none: of all) in the window,
// and whether more follow.
func (h *history) page(w window, types []string, desc bool, limit int) ([]*entry, bool) {
	tracks := h.tracks(w, types)
	for i, t := range tracks {
		lo := sort.Search(len(t), func(i int) bool { return w.low.less(t[i].key()) })
		hi := sort.Search(len(t), func(i int) bool { return !t[i].key().less(w.high) })
		tracks[i] = t[min(lo, hi):hi]
	}
	var out []*entry
	for len(out) <= limit {
		e := next(tracks, desc)
		if e == nil {
			return out, false
		}
		out = append(out, e)
	}
	return out[:limit], true
}

func (h *history) tracks(w window, types []string) [][]*entry {
	var tracks [][]*entry
	if len(types) == 0 {
		tracks = append(tracks, h.all)
	}
	for _, typ := range slices.Compact(slices.Sorted(slices.Values(types))) {
		tracks = append(tracks, h.byType[typ])
	}
	if w.timed {
		return tracks
	}
	var queued []*entry
	for _, e := range h.queued {
		if len(types) == 0 || slices.Contains(types, e.typ) {
			queued = append(queued, e)
		}
	}
	return append(tracks, queued)
}

// next takes the first event of all tracks, or the last with desc.
func next(tracks [][]*entry, desc bool) *entry {
	best := -1
	for i, t := range tracks {
		if len(t) == 0 {
			continue
		}
		if best < 0 || end(t, desc).key().less(end(tracks[best], desc).key()) != desc {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	e := end(tracks[best], desc)
	if desc {
		tracks[best] = tracks[best][:len(tracks[best])-1]
	} else {
		tracks[best] = tracks[best][1:]
	}
	return e
}

func end(t []*entry, desc bool) *entry {
	if desc {
		return t[len(t)-1]
	}
	return t[0]
}

package loop

// maxIDs is how many ids one half of an idSet holds before the older half is
// dropped.
const maxIDs = 20_000

// idSet remembers ids in two halves, so that its size is bounded: rotating drops
// the older half. An id is looked for in both.
type idSet struct{ young, old map[string]struct{} }

func newIDSet() idSet {
	return idSet{young: map[string]struct{}{}, old: map[string]struct{}{}}
}

func (s *idSet) add(id string) {
	if len(s.young) >= maxIDs {
		s.rotate()
	}
	s.young[id] = struct{}{}
}

func (s *idSet) has(id string) bool {
	if _, ok := s.young[id]; ok {
		return true
	}
	_, ok := s.old[id]
	return ok
}

func (s *idSet) rotate() {
	if len(s.young) == 0 {
		return
	}
	s.old, s.young = s.young, make(map[string]struct{})
}

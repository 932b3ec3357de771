package journal

import (
	"context"
	"sync"
)

// Memory is a journal that lives and dies with the process. Its zero value is
// empty and ready; it is safe for use by many goroutines.
type Memory struct {
	mu       sync.Mutex
	entries  map[[2]string]Entry // guarded by mu; by session and call
	revision uint64              // guarded by mu
}

// Start is as [Journal.Start].
func (m *Memory) Start(_ context.Context, e Entry) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, there := m.entries[[2]string{e.Session, e.Call}]; there {
		if old.Owner == e.Owner && !old.Finished {
			return old.Revision, nil
		}
		return 0, ErrOwned
	}
	return m.put(e), nil
}

// Finish is as [Journal.Finish].
func (m *Memory) Finish(_ context.Context, e Entry) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, there := m.entries[[2]string{e.Session, e.Call}]; there && old.Revision != e.Revision && old.Owner != e.Owner {
		return 0, ErrOwned
	}
	return m.put(e), nil
}

func (m *Memory) put(e Entry) uint64 {
	if m.entries == nil {
		m.entries = make(map[[2]string]Entry)
	}
	m.revision++
	e.Revision = m.revision
	m.entries[[2]string{e.Session, e.Call}] = e
	return e.Revision
}

// Forget is as [Journal.Forget].
func (m *Memory) Forget(_ context.Context, session string, calls ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range calls {
		delete(m.entries, [2]string{session, id})
	}
	return nil
}

// Recover is as [Journal.Recover].
func (m *Memory) Recover(_ context.Context, session string, _ []Entry) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []Entry
	for key, e := range m.entries {
		if key[0] == session {
			found = append(found, e)
		}
	}
	return found, nil
}

// Len is how many entries the journal holds.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.entries)
}

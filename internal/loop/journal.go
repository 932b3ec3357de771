package loop

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"toolhand/internal/tools"
)

// Journal remembers what must survive: that a call was started, and what it
// came to. Its operations on one call follow one another; those on different
// calls may run at once. An error other than [ErrOwned] means that the
// operation may or may not have been done; doing it again does no harm.
type Journal interface {
	// Start notes that a call is about to run. It succeeds for one owner only:
	// any other gets [ErrOwned], and must not run the call. It returns the
	// entry's revision, the fence for Finish.
	Start(ctx context.Context, e Entry) (revision uint64, err error)
	// Finish notes a call's result, over the entry's revision (0: none yet).
	Finish(ctx context.Context, e Entry) (revision uint64, err error)
	// Forget drops the entries of calls of one session; those that are not
	// there are no error.
	Forget(ctx context.Context, session string, calls []string) error
	// Recover returns the entries of a session. Beside an error it returns what
	// it has read, which the next attempt is given as have and need not read
	// again. It waits as long as ctx lets it while other sessions are read.
	Recover(ctx context.Context, session string, have []Entry) ([]Entry, error)
}

// ErrOwned says that a call was started by somebody else.
var ErrOwned = errors.New("the call was started by another worker")

// TooLargeError says that a result does not fit into the journal, now or later.
// Finish returns it.
type TooLargeError struct {
	Size, Limit int // in bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("a result of %d bytes is larger than the %d bytes that the journal takes", e.Size, e.Limit)
}

// Entry is what a journal holds of one call.
type Entry struct {
	Session string
	Call    string
	Tool    string
	Thread  string
	// Owner names who starts the call, so that a start whose outcome was
	// unknown can be told from somebody else's when it is done again.
	Owner    string
	Received time.Time
	Deadline time.Time
	// Finished reports that Result and Outcome are set; otherwise the call was
	// started and its outcome is not known.
	Finished bool
	Result   tools.Result
	Outcome  Outcome
	// Withheld is the size of the content that Recover left out of Result, where that
	// is set aside.
	Withheld int
	// Quarantined is why the API refuses Result for good: it is kept for people,
	// and the call is neither run nor answered again. Empty: it is not so.
	Quarantined string
	// Revision is the fence that the journal gave out for this entry, 0 where
	// there is none.
	Revision uint64
}

// Memory is a journal that lives and dies with the process. Its zero value is
// empty and ready; it is safe for use by many goroutines.
type Memory struct {
	mu       sync.Mutex
	entries  map[[2]string]Entry // guarded by mu; by session and call
	revision uint64              // guarded by mu
}

// Start implements [Journal].
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

// Finish implements [Journal].
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

// Forget implements [Journal].
func (m *Memory) Forget(_ context.Context, session string, calls []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range calls {
		delete(m.entries, [2]string{session, id})
	}
	return nil
}

// Recover implements [Journal].
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

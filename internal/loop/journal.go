package loop

import (
	"context"

	"toolhand/internal/journal"
)

// Journal remembers what must survive: that a call was started, and what it
// came to. Its operations on one call follow one another; those on different
// calls may run at once. An error other than
// [journal.ErrOwned] means that the
// operation may or may not have been done; doing it again does no harm.
type Journal interface {
	// Start notes that a call is about to run. It succeeds for one owner only:
	// any other gets [journal.ErrOwned], and must not run the call. It returns the
	// entry's revision, the fence for Finish.
	Start(ctx context.Context, e journal.Entry) (revision uint64, err error)
	// Finish notes a call's result, over the entry's revision (0: none yet); one
	// that is quarantined stays until it is named to Forget.
	Finish(ctx context.Context, e journal.Entry) (revision uint64, err error)
	// Forget drops the entries of calls of one session; those that are not
	// there are no error.
	Forget(ctx context.Context, session string, calls ...string) error
	// Recover returns the entries of a session. Beside an error it returns what
	// it has read, which the next attempt is given as have and need not read
	// again. It waits as long as ctx lets it while other sessions are read.
	Recover(ctx context.Context, session string, have []journal.Entry) ([]journal.Entry, error)
}

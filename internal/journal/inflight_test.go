package journal_test

import (
	"strings"
	"sync"
	"testing"

	"toolhand/internal/journal"
	"toolhand/internal/testkit"
)

// Many sessions that recover large results at once ask for no more than the
// connection has room for: without a bound the server refused to fill it, and
// closed it five times.
func TestManyLargeResultsAreRecoveredAtOnce(t *testing.T) {
	const size = 7 << 20
	sessions := testkit.Sample(120, 16)
	b := quick(t)
	j := openJournal(t, b, journal.Options{})
	content := strings.Repeat("x", size)
	for i := range sessions {
		e := entry(call(i), "c")
		e.Revision = mustStart(t, j, e)
		mustFinish(t, j, finished(e, content))
	}
	var wg sync.WaitGroup
	for i := range sessions {
		wg.Go(func() {
			for {
				got, err := j.Recover(t.Context(), call(i), nil)
				if err == nil {
					if len(got) != 1 || len(got[0].Content) < size {
						t.Errorf("%s: %d entries", call(i), len(got))
					}
					return
				}
				if t.Context().Err() != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	if n := b.Status().Reconnects; n != 0 {
		t.Errorf("the connection was lost %d times", n)
	}
}

package journal_test

import (
	"testing"

	"toolhand/internal/bus"
	"toolhand/internal/journal"
)

// TestSettingsChangeByAnUpdate: a bucket that stands takes other limits, also one
// below what it holds, and keeps its entries.
func TestSettingsChangeByAnUpdate(t *testing.T) {
	b := embedded(t, bus.Options{StoreDir: t.TempDir()})
	j := openJournal(t, b, journal.Options{Sole: true})
	e := entry("s", "c")
	e.Revision = mustStart(t, j, e)
	f := finished(e, result(20_000))
	f.Revision = mustFinish(t, j, f)
	for _, limit := range []int64{64 << 20, 10_000, 1 << 20} {
		j := openJournal(t, b, journal.Options{Sole: true, MaxBytes: limit})
		if st, err := j.Status(t.Context()); err != nil || st.Entries != 1 {
			t.Errorf("at most %d bytes: %+v, %v", limit, st, err)
		}
		s, err := b.JetStream().Stream(t.Context(), bucketStream)
		if err != nil || s.CachedInfo().Config.MaxBytes != limit {
			t.Errorf("the limit is not %d: %v", limit, err)
		}
		holds(t, j, "s", f)
	}
}

package journal_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/journal"
)

func benchJournal(b *testing.B, sync time.Duration, sole bool) *journal.Journal {
	b.Helper()
	bs, err := bus.Open(b.Context(), bus.Options{StoreDir: b.TempDir(), SyncInterval: sync})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { shut(b, bs) })
	j, err := journal.Open(b.Context(), bs.JetStream(), journal.Options{Sole: sole})
	if err != nil {
		b.Fatal(err)
	}
	return j
}

// timed runs f b.N times, and reports the median beside the mean: a disk that
// others use has long ends.
func timed(b *testing.B, prepare, f func(i int)) {
	b.Helper()
	b.ReportAllocs()
	took := make([]time.Duration, 0, b.N)
	for i := range b.N {
		b.StopTimer()
		if prepare != nil {
			prepare(i)
		}
		b.StartTimer()
		begin := time.Now()
		f(i)
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "median-µs")
}

func BenchmarkJournal(b *testing.B) {
	for name, sync := range map[string]time.Duration{"always": 0, "interval": time.Second} {
		b.Run("Start/"+name, func(b *testing.B) {
			j := benchJournal(b, sync, false)
			timed(b, nil, func(i int) { mustStart(b, j, entry("sesn_1", call(i))) })
		})
		b.Run("Finish/"+name, func(b *testing.B) {
			j := benchJournal(b, sync, false)
			var e journal.Entry
			timed(b, func(i int) {
				e = entry("sesn_1", call(i))
				e.Revision = mustStart(b, j, e)
				e = finished(e, result(300))
			}, func(int) { mustFinish(b, j, e) })
		})
		for _, c := range []struct {
			n    int
			sole bool
		}{{1, true}, {8, true}, {8, false}} {
			n := c.n
			b.Run(fmt.Sprintf("Forget%d,sole=%t/%s", n, c.sole, name), func(b *testing.B) {
				j := benchJournal(b, sync, c.sole)
				calls := make([]string, n)
				timed(b, func(i int) {
					for k := range calls {
						calls[k] = call(i*n + k)
						mustStart(b, j, entry("sesn_1", calls[k]))
					}
				}, func(int) {
					if err := j.Forget(b.Context(), "sesn_1", calls...); err != nil {
						b.Fatal(err)
					}
				})
			})
		}
	}
}

package journal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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

// BenchmarkWitness measures what a call pays for the witness: its start and its finish
// in two journals, with and without one, by turns in the same run.
func BenchmarkWitness(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		dir, err := os.MkdirTemp("/dev/shm", "toolhand") // no disk hides the cost there
		if err != nil {
			dir = b.TempDir()
		}
		b.Cleanup(func() { _ = os.RemoveAll(dir) })
		benchWitness(b, dir, time.Minute)
	})
	b.Run("disk", func(b *testing.B) { benchWitness(b, b.TempDir(), 0) })
}

func benchWitness(b *testing.B, dir string, sync time.Duration) {
	var journals [2]*journal.Journal
	for i := range journals {
		bs, err := bus.Open(b.Context(), bus.Options{StoreDir: filepath.Join(dir, strconv.Itoa(i)), SyncInterval: sync})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { shut(b, bs) })
		opts := journal.Options{Sole: true}
		if i == 1 {
			opts.Witness = bs.Witness(bucketStream)
		}
		if journals[i], err = journal.Open(b.Context(), bs.JetStream(), opts); err != nil {
			b.Fatal(err)
		}
	}
	var took [2][]time.Duration
	for n := range b.N {
		for i, j := range journals {
			e := entry("sesn_1", call(n))
			begin := time.Now()
			e.Revision = mustStart(b, j, e)
			mustFinish(b, j, finished(e, result(300)))
			took[i] = append(took[i], time.Since(begin))
		}
	}
	for i, name := range []string{"without-median-µs", "with-median-µs"} {
		slices.Sort(took[i])
		b.ReportMetric(float64(took[i][len(took[i])/2].Nanoseconds())/1e3, name)
	}
}

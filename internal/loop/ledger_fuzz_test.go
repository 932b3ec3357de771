package loop

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"toolhand/internal/testkit"
)

// FuzzLedger feeds random interleavings of events, outcomes, crashes and time to
// the ledger, and checks the invariants after each step.
func FuzzLedger(f *testing.F) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := make([]byte, 400)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4000 {
			data = data[:4000]
		}
		i := 0
		w := newWorld(func(int) int { return 0 })
		w.choose = func(n int) int {
			if i >= len(data) || n <= 1 {
				return 0
			}
			v := int(data[i]) % n
			i++
			return v
		}
		for i < len(data) && len(w.problems) == 0 {
			w.move()
			if w.reason != "" {
				break
			}
		}
		if len(w.problems) == 0 {
			w.calm()
		}
		report(t, w)
	})
}

// TestLedgerSeeds is the fuzzer without its engine: seeds, each reproducible.
// LEDGER_SEEDS asks for more.
func TestLedgerSeeds(t *testing.T) {
	for seed := range uint64(testkit.Number(t, "LEDGER_SEEDS", testkit.Sample(500, 150))) {
		r := rand.New(rand.NewPCG(seed, 2))
		w := newWorld(func(int) int { return 0 })
		w.choose = func(n int) int { return r.IntN(n) }
		for range 300 {
			if w.move(); len(w.problems) > 0 || w.reason != "" {
				break
			}
		}
		if len(w.problems) == 0 {
			w.calm()
		}
		if report(t, w); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func report(t *testing.T, w *world) {
	t.Helper()
	if len(w.problems) == 0 {
		return
	}
	tail := w.trace[max(0, len(w.trace)-60):]
	var calls strings.Builder
	for _, c := range w.ledger.calls {
		fmt.Fprintf(&calls, "%s %s alive=%t starting=%t finish=%+v unsettled=%t seq=%d group=%d named=%t\n",
			c.id, c.state, c.alive, c.starting, c.finish, c.unsettled, c.settleSeq, c.group, c.named)
	}
	t.Errorf("%s\nafter:\n%s\ncalls:\n%s\nsending: %+v\nreading: %+v", strings.Join(w.problems, "\n"),
		strings.Join(tail, "\n"), calls.String(), w.ledger.sending, w.ledger.reading)
}

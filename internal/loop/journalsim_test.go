package loop

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"toolhand/internal/testkit"
)

// seedsPerStore is how many seeds share a NATS server and its store.
const seedsPerStore = 25

// TestInvariants1To6And8OverSeeds lets an agent work for some minutes with a
// worker whose every operation may go wrong, and which is killed at any point,
// and looks at everything from outside. Each seed stands for its own choices:
// what the agent and the user do when, and what becomes of the nth operation of
// its kind on a call in a life.
// What happens at one and the same instant is in the scheduler's order: a seed
// whose failure hangs on that shows it in some of its runs (-count).
// JOURNAL_SEEDS is how many seeds, JOURNAL_SEED the only one.
func TestInvariants1To6And8OverSeeds(t *testing.T) {
	from, to := uint64(0), uint64(testkit.Number(t, "JOURNAL_SEEDS", testkit.Sample(150, 25)))
	if one := testkit.Number(t, "JOURNAL_SEED", -1); one >= 0 {
		from, to = uint64(one), uint64(one)+1
	}
	sum := &tally{n: map[string]int{}}
	t.Cleanup(func() { sum.check(t, to-from) }) // after the parallel ones
	for first := from; first < to; first += seedsPerStore {
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			t.Parallel()
			inStore(t, func(t *testing.T, s *store) {
				for seed := first; seed < min(to, first+seedsPerStore); seed++ {
					if why := playSeed(t, s, seed, sum); why != "" {
						t.Fatalf("JOURNAL_SEED=%d: %s", seed, why)
					}
				}
			})
		})
	}
}

// seeded is the plan of a seed. What it says of a point depends on nothing but
// the seed and the point, so that it is the same in each run.
type seeded struct {
	seed    uint64
	trouble float64 // how much of what is done goes wrong
	lives   int     // after so many nothing kills the process any more
}

func (s seeded) rand(words ...any) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, words...)
	return rand.New(rand.NewPCG(s.seed, h.Sum64()))
}

func (s seeded) fate(p point) (f fate) {
	r := s.rand(p.life, "/", p.op, "/", p.call, "/", p.n)
	if r.Float64() > s.trouble {
		if r.IntN(4) == 0 {
			f.after = time.Duration(r.IntN(300)) * time.Millisecond // slow, but well
		}
		return f
	}
	f.after = time.Duration(r.IntN(200)) * time.Millisecond
	if r.IntN(8) == 0 {
		f.after = time.Duration(r.IntN(6000)) * time.Millisecond
	}
	mortal := p.life < s.lives
	switch p.op {
	case "run":
		if f.how = well; mortal && r.IntN(3) == 0 {
			f.how = diesAfter
		}
		return f
	case "stream", "list", "get", "recover":
		f.how = []how{well, lost, persisted}[r.IntN(3)]
		return f
	}
	f.how = how(r.IntN(int(diesAfter) + 1))
	if !mortal && f.how >= diesBefore {
		f.how = persisted
	}
	if mortal && r.IntN(6) == 0 {
		f.dies = time.Duration(1+r.IntN(3000)) * time.Millisecond
	}
	if r.IntN(5) == 0 {
		f.interrupt = interrupt(1 + r.IntN(2))
	}
	return f
}

// playSeed plays one seed and returns what is wrong with it.
func playSeed(t *testing.T, s *store, seed uint64, sum *tally) string {
	plan := seeded{seed: seed}
	r := plan.rand("agent")
	plan.trouble = []float64{0.05, 0.15, 0.3, 0.5}[r.IntN(4)]
	plan.lives = 1 + r.IntN(7)
	o := newOutside(t, s, fmt.Sprintf("sesn_%d", seed))
	o.slots = []int{0, 0, 3}[r.IntN(3)]
	o.plan = plan.fate
	o.down = func(life int) time.Duration {
		r := plan.rand("down", life)
		return time.Duration(r.IntN([]int{50, 2000, 20_000}[r.IntN(3)])) * time.Millisecond
	}
	o.reopen = func(life int) bool { return plan.rand("reopen", life).IntN(5) == 0 }
	o.serve()
	for range 8 + r.IntN(25) {
		o.act(r)
		pause := []int{20, 500, 3000, 12_000}[r.IntN(4)]
		o.watch(time.Duration(r.IntN(pause)) * time.Millisecond)
	}
	if seed%4 == 0 {
		o.watch(20 * time.Second)
	}
	o.rest()
	o.close()
	sum.add(o.tally)
	return o.failed()
}

// tally counts what went wrong over all seeds.
type tally struct {
	mu sync.Mutex
	n  map[string]int // guarded by mu
}

func (s *tally) add(more map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for what, n := range more {
		s.n[what] += n
	}
}

// check makes sure that many seeds leave no kind of failure out.
func (s *tally) check(t *testing.T, seeds uint64) {
	for _, op := range []string{"start", "finish", "send", "forget"} {
		line := op
		for h := well; h <= diesAfter; h++ {
			line += fmt.Sprintf(", %s %d", h, s.n[op+" "+h.String()])
			if n := s.n[op+" "+h.String()]; n == 0 && seeds >= 150 {
				t.Errorf("in %d seeds no %s %s", seeds, op, h)
			}
		}
		for i := beforeDone; i <= afterDone; i++ {
			line += fmt.Sprintf(", %s %d", i, s.n[op+" "+i.String()])
			if n := s.n[op+" "+i.String()]; n == 0 && seeds >= 150 {
				t.Errorf("in %d seeds no %s is %s", seeds, op, i)
			}
		}
		t.Log(line)
	}
}

// act is one thing that the agent, the user, another client or the network does.
func (o *outside) act(r *rand.Rand) {
	waiting := o.waiting()
	switch n := r.IntN(20); {
	case n < 11:
		if len(waiting) > 0 && r.IntN(4) > 0 {
			return // the turn goes on
		}
		for range 1 + r.IntN(4) {
			o.agentCalls(r)
			if r.IntN(2) == 0 {
				o.watch(time.Duration(r.IntN(400)) * time.Millisecond)
			}
		}
		o.ask()
	case n < 13:
		o.interrupt()
	case n < 14 && len(waiting) > 0:
		o.elsewhere(waiting[r.IntN(len(waiting))])
	case n < 16:
		o.session.CutStreams(r.IntN(2) == 0)
	case n < 17 && o.last().n < 6:
		o.last().die()
	case n < 18:
		o.ask()
	}
}

func (o *outside) agentCalls(r *rand.Rand) {
	tool := o.tools[r.IntN(len(o.tools))]
	longest := []int{30, 3000, int(tool.Deadline.Milliseconds()) + 2000}[r.IntN(3)]
	do := task{MS: r.IntN(longest), Deaf: tool.Name == "deaf" && r.IntN(2) == 0}
	do.How = []string{"ok", "ok", "ok", "ok", "ok", "fail", "lost", "unavailable", "panic"}[r.IntN(9)]
	id := o.call(tool.Name, do)
	if r.IntN(25) == 0 {
		o.poison(id)
	}
}

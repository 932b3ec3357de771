package loop

import (
	"fmt"
	"testing"
	"time"

	"toolhand/internal/registry"
	"toolhand/internal/upstream"
)

// An event that is none of ours costs the ledger no allocation, however many
// calls are open (invariant 10).
func TestAnEventOfOthersAllocatesNothing(t *testing.T) {
	tool := testTool("look", true, time.Hour)
	for _, open := range []int{0, 100} {
		now := time.Now()
		l := newLedger(Settings{Session: "s", Linger: time.Second,
			Lookup: func(string) (*registry.Tool, bool) { return tool, true }})
		l.Step(now, attached{})
		for i := range open {
			l.Step(now, received{upstream.Event{Type: upstream.TypeCall, ID: fmt.Sprint(i), Name: "look"}})
		}
		var in Input = received{upstream.Event{Type: "agent.thinking"}}
		if n := testing.AllocsPerRun(1000, func() { l.Step(now, in) }); n != 0 {
			t.Errorf("%g allocations with %d calls open", n, open)
		}
	}
}

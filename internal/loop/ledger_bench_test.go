package loop

import (
	"fmt"
	"testing"
	"time"

	"toolhand/internal/registry"
	"toolhand/internal/upstream"
)

// BenchmarkStep is one event that is none of ours, with so many calls open.
func BenchmarkStep(b *testing.B) {
	tool := testTool("look", true, time.Hour)
	for _, open := range []int{0, 10, 100, 1000} {
		b.Run(fmt.Sprintf("open=%d", open), func(b *testing.B) {
			now := time.Now()
			l := newLedger(Settings{Session: "s", Linger: time.Second,
				Lookup: func(string) (*registry.Tool, bool) { return tool, true }})
			l.Step(now, attached{})
			for i := range open {
				l.Step(now, received{upstream.Event{Type: upstream.TypeCall, ID: fmt.Sprint(i), Name: "look"}})
			}
			b.ReportAllocs()
			for b.Loop() {
				l.Step(now, received{upstream.Event{Type: "agent.thinking"}})
			}
		})
	}
}

// BenchmarkTurn is a turn of eight calls, from the first event to the forgotten
// entries.
func BenchmarkTurn(b *testing.B) {
	tool := testTool("pay", false, time.Hour)
	b.ReportAllocs()
	p := newTranscript()
	p.tools["pay"] = tool
	p.step(attached{})
	n := 0
	for b.Loop() {
		ids := make([]string, 8)
		for i := range ids {
			n++
			ids[i] = fmt.Sprint("c", n)
			p.step(received{upstream.Event{Type: upstream.TypeCall, ID: ids[i], Name: "pay"}})
		}
		p.step(received{upstream.Event{Type: upstream.TypeIdle, StopReason: upstream.StopRequiresAction, EventIDs: ids}})
		for _, id := range ids {
			p.step(p.returned(id, ""))
		}
		p.step(sent{})
		p.out = p.out[:0]
	}
}

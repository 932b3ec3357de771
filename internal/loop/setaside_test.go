package loop

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"weak"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
	"toolhand/internal/testkit"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	"toolhand/internal/upstream"
)

// setAsideOne plays a call whose result the API refuses, and the short error in its
// place too. The first write of the result ends well, and every later one waits.
func setAsideOne(p *transcript, id, tool string, result tools.Result) {
	p.step(received{upstream.Event{Type: upstream.TypeCall, ID: id, Name: tool, ProcessedAt: p.now}})
	p.step(received{upstream.Event{Type: upstream.TypeIdle, StopReason: upstream.StopRequiresAction, EventIDs: []string{id}}})
	end := p.returned(id, "")
	end.end.Result = result
	p.step(end)
	p.held["finish"] = true
	for _, words := range []string{"the result is bad", id + " is bad"} {
		err := &upstream.Error{Op: "send", Status: 400, Type: "invalid_request_error"}
		err.Message = words
		p.step(p.sentInput(err))
		p.step(history{seq: p.seq, events: []upstream.Event{{Type: upstream.TypeCall, ID: id, Name: tool, ProcessedAt: p.now}}})
		p.until(p.now.Add(time.Minute))
	}
}

func attachedTranscript() *transcript {
	p := newTranscript()
	p.step(attached{})
	p.step(history{seq: p.seq, complete: true})
	return p
}

// A result that was set aside is in memory until the journal has it, and no longer.
func TestSetAsideResultIsNotHeldInMemory(t *testing.T) {
	many := testkit.Sample(40, 10)
	p := attachedTranscript()
	var bodies []weak.Pointer[byte]
	held := func() int {
		p.todo = nil // it has what the ledger was given
		runtime.GC()
		n := 0
		for _, b := range bodies {
			if b.Value() != nil {
				n++
			}
		}
		return n
	}
	result := func() tools.Result {
		r := content.Text(strings.Repeat("x", 1<<20))
		bodies = append(bodies, weak.Make(&r.Content[0]))
		return r
	}
	for i := range many {
		id := fmt.Sprint("sevt_", i)
		p.held["finish"] = false
		setAsideOne(p, id, []string{"pay", "look"}[i%2], result())
		if got := len(p.ledger.kept); got != i+1 {
			t.Fatalf("%d results are set aside, want %d:\n%s", got, i+1, clip(strings.ReplaceAll(strings.Join(p.out, "\n"), "xx", "")))
		}
		if got := held(); got != 1 {
			t.Fatalf("%d bodies are in memory before the journal has the last one, want 1", got)
		}
		p.step(finishDone{id: id, revision: 3})
	}
	p.step(recovered{[]journal.Entry{{Session: "s", Call: "sevt_old", Tool: "pay", Finished: true, Quarantined: "refused", Content: result().Content}}})
	if got := held(); got != 0 {
		t.Errorf("%d bodies are held in memory", got)
	}
	if len(p.ledger.calls) != 0 || len(p.ledger.kept) != many+1 {
		t.Errorf("%d calls are left and %d set aside", len(p.ledger.calls), len(p.ledger.kept))
	}
	for _, k := range p.ledger.kept {
		if k.Bytes < 1<<20 || k.Tool == "" || !p.ledger.isKept(k.ID) {
			t.Errorf("of one that is set aside is known %+v", k)
		}
	}
}

// The words of a refusal stand in the entry beside the result. Where they take its
// last room, the result is cut; it is not written in vain for ever.
func TestSetAsideResultMakesRoomForTheWords(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want int // writes besides the one that failed
		has  string
	}{
		"too large": {&journal.TooLargeError{Size: 5000, Limit: 4000}, 1, "bytes left out"},
		"owned":     {journal.ErrOwned, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := attachedTranscript()
			setAsideOne(p, "sevt_one", "pay", content.Text(strings.Repeat("x", 5000)))
			p.out = nil
			p.held["finish"] = false
			p.step(finishDone{id: "sevt_one", err: c.err})
			p.until(p.now.Add(time.Minute))
			var writes []string
			for _, line := range p.out {
				if strings.Contains(line, "finish sevt_one: quarantined: ") {
					writes = append(writes, line)
				}
			}
			if len(writes) != c.want || c.want > 0 && (len(writes[0]) > 4100 || !strings.Contains(writes[0], c.has)) {
				t.Errorf("%d writes: %s", len(writes), clip(strings.Join(writes, "\n")))
			}
			if len(p.ledger.calls) != 0 || !p.ledger.isKept("sevt_one") {
				t.Errorf("%d calls are left; set aside: %t", len(p.ledger.calls), p.ledger.isKept("sevt_one"))
			}
		})
	}
}

// A session that is attached knows of what was set aside without taking it from the
// journal, where it stays.
func TestSetAsideResultStaysInTheJournal(t *testing.T) {
	inStore(t, func(t *testing.T, s *store) {
		j := s.journal()
		before := j
		e := journal.Entry{Session: "s", Call: "sevt_one", Tool: "pay", Owner: "dead", Finished: true, Outcome: string(run.Quarantined), Quarantined: "refused",
			Content: content.Text(strings.Repeat("x", 5000)).Content}
		if _, err := before.Finish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		var have []journal.Entry
		for range 2 { // the second one is given what the first one has read
			var err error
			if have, err = j.Recover(t.Context(), "s", have); err != nil || len(have) != 1 || have[0].Content != nil {
				t.Fatalf("recovered %.300v, %v", have, err)
			}
		}
		p := newTranscript()
		p.step(recovered{have})
		if k := p.ledger.kept; len(k) != 1 || k[0].Bytes != len(e.Content) || !p.ledger.isKept("sevt_one") {
			t.Errorf("known of it is %+v", k)
		}
		for found, err := range j.All(t.Context()) {
			if err != nil || !bytes.Equal(found.Content, e.Content) {
				t.Errorf("the journal has %.300v, %v", found, err)
			}
		}
	})
}

func clip(s string) string {
	if len(s) > 1000 {
		s = s[len(s)-1000:]
	}
	return s
}

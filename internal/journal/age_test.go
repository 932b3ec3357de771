package journal_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"toolhand/internal/journal"
)

// TestExpire: what will never be sent goes when it is old, and nothing else.
func TestExpire(t *testing.T) {
	j := openJournal(t, quick(t), journal.Options{Sole: true})
	put := func(session, call, content, quarantined string) journal.Entry {
		e := entry(session, call)
		e.Revision = mustStart(t, j, e)
		if content == "" {
			return e
		}
		e = finished(e, content)
		var err error
		if quarantined == "" {
			e.Revision, err = j.Finish(t.Context(), e)
		} else {
			e.Revision, err = j.Finish(t.Context(), setAside(e, quarantined))
			e.Quarantined = quarantined
		}
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	alive := []journal.Entry{put("alive", "started", "", ""), put("alive", "finished", "[1]", "")}
	aside := put("alive", "aside", strings.Repeat("x", 5000), "refused")
	put("over", "started", "", "")
	put("over", "finished", "[2]", "")
	put("over", "aside", "[3]", "refused")
	var asked []string
	over := func(session string) bool { asked = append(asked, session); return session == "over" }
	expire := func(before time.Time) []journal.Aged {
		t.Helper()
		asked = nil
		done, err := j.Expire(t.Context(), before, over)
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	if done := expire(time.Now().Add(-time.Hour)); len(done) > 0 || len(asked) > 0 {
		t.Errorf("young ones: %+v, asked for %v", done, asked)
	}
	later := time.Now().Add(time.Hour) // as if an hour had gone by, and more
	done := expire(later)
	slices.Sort(asked)
	if len(done) != 4 || !slices.Equal(asked, []string{"alive", "over"}) {
		t.Errorf("%d went, asked for %v: %+v", len(done), asked, done)
	}
	for _, a := range done {
		if dropped := a.Entry.Session == "over"; a.Dropped != dropped || a.Entry.Tool != "run_tests" || a.Written.IsZero() ||
			!dropped && (a.Entry.Call != "aside" || a.Bytes != 5000) || len(a.Entry.Content) > 0 {
			t.Errorf("went: %+v", a)
		}
	}
	holds(t, j, "over")
	aside.Content = nil
	aside.Revision = recovered(t, j, "alive")["aside"].Revision
	holds(t, j, "alive", append(alive, aside)...)
	if done := expire(later); len(done) > 0 {
		t.Errorf("again: %+v", done)
	}
	// What went is known: a turn can be forgotten, and a call of that name started.
	mustForget(t, j, "alive", "started", "finished", "aside")
	holds(t, j, "alive")
	mustStart(t, j, entry("over", "started"))
}

// TestExpireLeavesTheNewer: an entry that is written while its session is looked at
// is not touched.
func TestExpireLeavesTheNewer(t *testing.T) {
	j := openJournal(t, quick(t), journal.Options{})
	e := entry("s", "c")
	e.Revision = mustStart(t, j, e)
	aside := finished(e, "[1]")
	var err error
	if aside.Revision, err = j.Finish(t.Context(), setAside(aside, "refused")); err != nil {
		t.Fatal(err)
	}
	for _, over := range []bool{false, true} {
		done, err := j.Expire(t.Context(), time.Now().Add(time.Hour), func(string) bool {
			aside.Revision, err = j.Finish(t.Context(), setAside(finished(aside, "[2]"), "refused again"))
			if err != nil {
				t.Error(err)
			}
			aside = finished(aside, "[2]")
			aside.Quarantined = "refused again"
			return over
		})
		if !over && (err != nil || len(done) > 0) {
			t.Errorf("%+v, %v", done, err)
		}
		holds(t, j, "s", aside)
		// Written anew, so that the second round finds another revision.
		aside.Revision, err = j.Finish(t.Context(), setAside(finished(aside, "[3]"), "once more"))
		if err != nil {
			t.Fatal(err)
		}
		aside = finished(aside, "[3]")
		aside.Quarantined = "once more"
	}
}

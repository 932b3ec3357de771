package journal_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"toolhand/internal/bus"
	"toolhand/internal/journal"
	"toolhand/internal/testkit"
)

// The test binary plays the processes that are killed: this variable says which.
const roleEnv = "JOURNAL_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role, args, _ := strings.Cut(os.Getenv(roleEnv), " "); role {
	case "":
		testkit.SideBySide(8) // they wait for servers and disks
		goleak.VerifyTestMain(m)
	case "writer":
		writer(strings.Fields(args)) // returns only where it can't begin
		os.Exit(1)
	case "server":
		os.Exit(server(strings.Fields(args)))
	}
}

func shut(t testing.TB, b *bus.Bus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
}

// embedded opens a bus that is closed at the end of the test. It does not sync
// before each acknowledgement, unless a test is about that.
func embedded(t testing.TB, opts bus.Options) *bus.Bus {
	t.Helper()
	if opts.StoreDir == "" {
		opts.StoreDir = t.TempDir()
	}
	b, err := bus.Open(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, b) })
	return b
}

func quick(t testing.TB) *bus.Bus { return embedded(t, bus.Options{SyncInterval: time.Minute}) }

func openJournal(t testing.TB, b *bus.Bus, opts journal.Options) *journal.Journal {
	t.Helper()
	j, err := journal.Open(context.Background(), b.JetStream(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// entry is a call that is about to run.
func entry(session, call string) journal.Entry {
	return journal.Entry{
		Session: session, Call: call, Tool: "run_tests", Owner: "OWNERA",
		Received: time.Date(2026, 11, 1, 12, 0, 0, 123456789, time.UTC), Deadline: time.Date(2026, 11, 1, 12, 2, 0, 123456789, time.UTC),
	}
}

// by is e in the hands of another owner.
func by(owner string, e journal.Entry) journal.Entry {
	e.Owner = owner
	return e
}

// at is e with a revision.
func at(revision uint64, e journal.Entry) journal.Entry {
	e.Revision = revision
	return e
}

// finished is e with a result.
func finished(e journal.Entry, content string) journal.Entry {
	e.Finished, e.Content, e.Outcome = true, []byte(content), "ok"
	return e
}

// result is content of about n bytes.
func result(n int) string { return `[{"type":"text","text":"` + strings.Repeat("x", n) + `"}]` }

func call(i int) string { return fmt.Sprintf("sevt_%d", i) }

func mustStart(t testing.TB, j *journal.Journal, e journal.Entry) uint64 {
	t.Helper()
	revision, err := j.Start(t.Context(), e)
	if err != nil {
		t.Fatalf("start of %s: %v", e.Call, err)
	}
	return revision
}

func mustFinish(t testing.TB, j *journal.Journal, e journal.Entry) uint64 {
	t.Helper()
	revision, err := j.Finish(t.Context(), e)
	if err != nil {
		t.Fatalf("finish of %s: %v", e.Call, err)
	}
	return revision
}

func mustForget(t testing.TB, j *journal.Journal, session string, calls ...string) {
	t.Helper()
	if err := j.Forget(t.Context(), session, calls...); err != nil {
		t.Fatalf("forget of %v: %v", calls, err)
	}
}

// recovered is what a journal holds of a session, by call.
func recovered(t testing.TB, j *journal.Journal, session string) map[string]journal.Entry {
	t.Helper()
	found, err := j.Recover(t.Context(), session, nil)
	if err != nil {
		t.Fatal(err)
	}
	byCall := map[string]journal.Entry{}
	for _, e := range found {
		byCall[e.Call] = e
	}
	if len(byCall) != len(found) {
		t.Fatalf("a call has two entries: %+v", found)
	}
	return byCall
}

// holds checks that a session has exactly these entries, those that are set aside
// without their contents.
func holds(t testing.TB, j *journal.Journal, session string, want ...journal.Entry) {
	t.Helper()
	got := recovered(t, j, session)
	for _, w := range want {
		w = withheld(w)
		if g, ok := got[w.Call]; !ok || !same(g, w) {
			t.Errorf("call %s: %.500v\nwant %.500v", w.Call, g, w)
		}
		delete(got, w.Call)
	}
	for _, g := range got {
		t.Errorf("an entry too many: %+v", g)
	}
}

// withheld is an entry as Recover gives it.
func withheld(e journal.Entry) journal.Entry {
	if e.Quarantined != "" {
		e.Content, e.Withheld = nil, len(e.Content)
	}
	return e
}

func same(a, b journal.Entry) bool {
	return reflect.DeepEqual(a, b)
}

func isOwned(err error) bool { return errors.Is(err, journal.ErrOwned) }

// setAside is an entry whose result can't be sent.
func setAside(e journal.Entry, why string) journal.Entry {
	e.Quarantined = why
	return e
}

package bus

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A mark ends when it was counted down by the processes that had the store open.
// Between them lies as much time as may be, by a clock that shows what it likes.
func TestMarkExpiresByWhatIsCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), damagedName)
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	m := &mark{path: path}
	if err := m.open(true, at); err != nil {
		t.Fatal(err)
	}
	found := at
	left := DoubtFor
	const each = 5 * time.Hour
	for _, clock := range []time.Duration{time.Minute, -20 * 365 * 24 * time.Hour, 40 * 365 * 24 * time.Hour, -365 * 24 * time.Hour} {
		start := at.Add(clock)
		m = &mark{path: path}
		if err := m.open(false, start); err != nil {
			t.Fatal(err)
		}
		d, is := m.now(start)
		if !is || d.Left != left || !d.Found.Equal(found) {
			t.Fatalf("clock %s: %t, %+v; want %s left", clock, is, d, left)
		}
		if over, err := m.count(start.Add(markEvery-1), markEvery); over || err != nil {
			t.Fatal(over, err)
		}
		if over, err := m.count(start.Add(each), markEvery); over || err != nil {
			t.Fatal(over, err)
		}
		left -= each
	}
	m = &mark{path: path}
	if err := m.open(false, at); err != nil {
		t.Fatal(err)
	}
	if _, is := m.now(at.Add(left - 1)); !is {
		t.Error("it expires too early")
	}
	if _, is := m.now(at.Add(left)); is {
		t.Error("it does not expire")
	}
	if over, err := m.count(at.Add(left), markEvery); !over || err != nil {
		t.Fatal(over, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file of a mark that has expired is there: %v", err)
	}
}

// What an older version wrote has no second line, and wherever its time lies, the
// mark is one of today that ends.
func TestMarkOfAnOlderVersion(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for _, text := range []string{
		"2026-10-31T11:59:59.123456789Z\n", "1970-01-01T00:00:00Z\n", "2096-01-01T00:00:00Z\n", "garbage garbage\n", "",
		"2026-10-31T11:59:59Z\n8760h0m0s\n", "2026-10-31T11:59:59Z\n-1h\n", "2026-10-31T11:59:59Z\nsoon\n",
	} {
		path := filepath.Join(t.TempDir(), damagedName)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		m := &mark{path: path}
		if err := m.open(false, now); err != nil {
			t.Fatal(err)
		}
		d, is := m.now(now)
		if !is || d.Left != DoubtFor {
			t.Errorf("%q: %t, %+v", text, is, d)
		}
		if when, _, _ := strings.Cut(text, "\n"); strings.HasPrefix(text, "20") && d.Found.Format(time.RFC3339Nano) != when {
			t.Errorf("%q: found %s", text, d.Found)
		}
		if _, err := m.count(now.Add(time.Hour), markEvery); err != nil {
			t.Fatal(err)
		}
		again := &mark{path: path}
		if err := again.open(false, now); err != nil {
			t.Fatal(err)
		}
		if d, is := again.now(now); !is || d.Left != DoubtFor-time.Hour {
			t.Errorf("%q: an hour later %t, %+v", text, is, d)
		}
		if _, is := again.now(now.Add(DoubtFor)); is {
			t.Errorf("%q: it never ends", text)
		}
	}
}

// A mark that can't be read is not one that is not there.
func TestMarkThatCantBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), damagedName)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	m := &mark{path: path}
	if err := m.open(false, time.Now()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
}

// The time of an event that comes live is taken once the store was doubted for a while,
// by whichever processes, and is of this damage only.
func TestMarkLearnsATimeOfTheAPI(t *testing.T) {
	m := &mark{path: filepath.Join(t.TempDir(), damagedName)}
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	api := time.Date(1999, 1, 1, 0, 0, 0, 5, time.UTC) // its clock has no say in when
	check := func(what string, now, want time.Time) {
		t.Helper()
		if d, is := m.now(now); !is || !d.Until.Equal(want) {
			t.Errorf("%s: %t, %+v, want %s", what, is, d, want)
		}
	}
	again := func(found bool) {
		t.Helper()
		m = &mark{path: m.path}
		if err := m.open(found, at); err != nil {
			t.Fatal(err)
		}
	}
	m.live(at, api)
	if _, is := m.now(at); is || !m.until.IsZero() {
		t.Error("a sound store learns something")
	}
	again(true)
	m.live(at.Add(liveAfter-1), api)
	check("at once", at, time.Time{})
	if _, err := m.count(at.Add(liveAfter/2), 0); err != nil {
		t.Fatal(err)
	}
	again(false)
	m.live(at.Add(liveAfter/2-1), api)
	check("by the next process", at, time.Time{})
	m.live(at.Add(liveAfter/2), api)
	m.live(at.Add(liveAfter), api.Add(time.Hour))
	check("later", at, api)
	if _, err := m.count(at.Add(time.Hour), markEvery); err != nil {
		t.Fatal(err)
	}
	again(false)
	check("after a restart", at, api)
	if d, _ := m.now(at); d.Left != DoubtFor-liveAfter/2-time.Hour {
		t.Errorf("%s are left", d.Left)
	}
	again(true)
	check("after other damage", at, time.Time{})
}

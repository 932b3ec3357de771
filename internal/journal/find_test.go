package journal_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/journal"
)

// TestFind: an entry is found by its call alone, as it stands, and nothing is changed
// by that.
func TestFind(t *testing.T) {
	b := quick(t)
	j := openJournal(t, b, journal.Options{MaxBytes: 5 << 20})
	odd := entry("sesn_1", "an odd id. *")
	odd.Revision = mustStart(t, j, odd)
	started := entry("sesn_1", "sevt_1")
	started.Revision = mustStart(t, j, started)
	other := finished(entry("sesn_2", "sevt_1"), result(10))
	other.Revision = mustFinish(t, j, other)
	aside := finished(entry("sesn_3", "sevt_3"), result(2<<20))
	var err error
	if aside.Revision, err = j.Finish(t.Context(), setAside(aside, "refused")); err != nil {
		t.Fatal(err)
	}
	aside.Quarantined = "refused"
	gone := entry("sesn_1", "sevt_gone")
	mustStart(t, j, gone)
	mustForget(t, j, "sesn_1", "sevt_gone")
	if _, err := b.JetStream().Publish(t.Context(), "$KV.toolhand_calls.sesn_4.sevt_broken", []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.JetStream().Publish(t.Context(), "$KV.toolhand_calls.sesn_4.sevt_newer", []byte(`{"v":99}`+"\n")); err != nil {
		t.Fatal(err)
	}
	settings := func() jetstream.StreamInfo {
		s, err := b.JetStream().Stream(t.Context(), "KV_toolhand_calls")
		if err != nil {
			t.Fatal(err)
		}
		info := *s.CachedInfo()
		info.TimeStamp, info.State.Consumers = time.Time{}, 0
		return info
	}
	before := settings()
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	for id, want := range map[string][]journal.Entry{
		"sevt_1": {started, other}, "sevt_3": {aside}, "an odd id. *": {odd}, "sevt_gone": nil, "sevt_none": nil, "*": nil, ">": nil, "": nil,
		"sevt_broken": {{Session: "sesn_4", Call: "sevt_broken", Revision: before.State.LastSeq - 1}},
	} {
		found, err := journal.Find(t.Context(), b.JetStream(), id, logger)
		if err != nil || len(found) != len(want) {
			t.Errorf("%s: %d entries, %v, want %d", id, len(found), err, len(want))
			continue
		}
		for i, f := range found {
			if !same(f.Entry, want[i]) || time.Since(f.Written).Abs() > time.Minute {
				t.Errorf("%s: %.300v, want %.300v", id, f, want[i])
			}
		}
	}
	if !strings.Contains(log.String(), "sevt_broken") {
		t.Errorf("of what can't be read is logged %q", log.String())
	}
	if _, err := journal.Find(t.Context(), b.JetStream(), "sevt_newer", logger); !errors.Is(err, journal.ErrNewer) {
		t.Errorf("a newer worker's entry: %v", err)
	}
	after := settings()
	if after.Config.MaxBytes != 5<<20 || after.State.LastSeq != before.State.LastSeq || after.State.Msgs != before.State.Msgs || after.State.FirstSeq != before.State.FirstSeq {
		t.Errorf("the bucket was %+v, and is %+v", before, after)
	}
}

// TestFindWhereThereIsNoJournal: the bucket is not made.
func TestFindWhereThereIsNoJournal(t *testing.T) {
	b := quick(t)
	if _, err := journal.Find(t.Context(), b.JetStream(), "sevt_1", slog.New(slog.DiscardHandler)); !errors.Is(err, journal.ErrNone) {
		t.Errorf("%v", err)
	}
	for name := range b.JetStream().StreamNames(t.Context()).Name() {
		t.Errorf("there is a stream %s", name)
	}
}

package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// readers is how many entries are asked for at once, by all sessions together.
// Each may have 8 MiB, and a server closes a connection that has 64 MB to take.
const readers = 4

// Recover returns the entries of a session by their revisions. Those that are set
// aside come without their contents, which nobody sends: [Find] has them. [ErrNewer]: a newer worker wrote one of them. Any other
// error: nothing is known, and the session must not be served yet.
//
// Sessions are read one after another, whoever waited longest first: so that each
// is read whole within its time, and no more is in flight than the connection
// takes. ctx bounds the wait for that turn and the reading after it together;
// [Options.Timeout] the reading alone.
//
// What was read is returned beside an error too. Given to the next attempt as
// have, it is not read again, so that each gets further than the one before.
// Nobody else may write the session's entries between the two.
//
// An entry that can't be read counts as a call that was started: so it is not
// run again.
func (j *Journal) Recover(ctx context.Context, session string, have []Entry) ([]Entry, error) {
	if err := j.turns.Acquire(ctx, 1); err != nil {
		return have, fmt.Errorf("journal: other sessions are read first: %w", context.Cause(ctx))
	}
	defer j.turns.Release(1)
	ctx, cancel := j.bound(ctx)
	defer cancel()
	keys, err := j.keys(ctx, token(session)+".*")
	if err != nil {
		return have, err
	}
	found := slices.Clone(have)
	keys = slices.DeleteFunc(keys, func(k string) bool {
		return slices.ContainsFunc(have, func(e Entry) bool { return key(e.Session, e.Call) == k })
	})
	for e, err := range j.entries(ctx, keys) {
		if err != nil {
			return found, err
		}
		if e.Session != session {
			return found, fmt.Errorf("journal: the entry of call %s is session %s's, not %s's", e.Call, e.Session, session)
		}
		if e.Quarantined != "" {
			e.Withheld, e.Content = len(e.Content), nil
		}
		found = append(found, e)
	}
	j.writes.recovered(token(session), found)
	slices.SortFunc(found, func(a, b Entry) int { return int(int64(a.Revision - b.Revision)) })
	return found, nil
}

// All gives every entry, in no order, until the first error. Each is read when
// its turn comes, so that the contents are not in memory together. ctx bounds all
// of it: without a deadline it has [Options.Timeout].
func (j *Journal) All(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		ctx, cancel := j.bound(ctx)
		defer cancel()
		keys, err := j.keys(ctx, "*.*")
		if err != nil {
			yield(Entry{}, err)
			return
		}
		j.entries(ctx, keys)(yield)
	}
}

// Sessions returns how many entries each session has, of those that have any.
func (j *Journal) Sessions(ctx context.Context) (map[string]int, error) {
	ctx, cancel := j.bound(ctx)
	defer cancel()
	keys, err := j.keys(ctx, "*.*")
	if err != nil {
		return nil, err
	}
	sessions := map[string]int{}
	odd := map[string]int{}        // by tokens that are not plain
	example := map[string]string{} // the key of an entry, which has the id
	for _, k := range keys {
		if first := sessionOf(k); isPlain(first) {
			sessions[first]++
		} else {
			odd[first]++
			example[first] = k
		}
	}
	for first, k := range example {
		e, found, err := j.read(ctx, k)
		if err != nil {
			return nil, because(ctx, err)
		}
		if found {
			sessions[e.Session] += odd[first]
		}
	}
	return sessions, nil
}

// keys lists the keys that match.
func (j *Journal) keys(ctx context.Context, filter string) ([]string, error) {
	info, err := j.stream.Info(ctx, jetstream.WithSubjectFilter(j.prefix+filter))
	if err != nil {
		return nil, fmt.Errorf("journal: %w", because(ctx, err))
	}
	keys := make([]string, 0, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		keys = append(keys, strings.TrimPrefix(subject, j.prefix))
	}
	return keys, nil
}

// entries reads the entries of keys, several at once.
func (j *Journal) entries(ctx context.Context, keys []string) iter.Seq2[Entry, error] {
	type outcome struct {
		entry Entry
		found bool
		err   error
	}
	return func(yield func(Entry, error) bool) {
		for batch := range slices.Chunk(keys, readers) {
			got := make([]chan outcome, len(batch))
			for i, k := range batch {
				got[i] = make(chan outcome, 1)
				go func() {
					if err := j.reads.Acquire(ctx, 1); err != nil {
						got[i] <- outcome{err: err}
						return
					}
					defer j.reads.Release(1)
					e, found, err := j.read(ctx, k)
					got[i] <- outcome{e, found, err}
				}()
			}
			outcomes := make([]outcome, len(batch))
			for i := range batch {
				outcomes[i] = <-got[i] // the request of read ends with ctx
			}
			for _, o := range outcomes {
				if o.found && !yield(o.entry, nil) {
					return
				}
			}
			for _, o := range outcomes {
				if o.err != nil {
					yield(Entry{}, fmt.Errorf("journal: %w", because(ctx, o.err)))
					return
				}
			}
		}
	}
}

// read reads the entry of a key. Where there is none, the entry's Revision is
// that of the marker that stands in its place, or 0.
func (j *Journal) read(ctx context.Context, k string) (e Entry, found bool, err error) {
	m, err := j.stream.GetLastMsgForSubject(ctx, j.prefix+k)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Entry{}, false, nil
	}
	if err != nil {
		return Entry{}, false, err
	}
	return j.entry(k, m)
}

// entry is what a message of the bucket holds.
func (j *Journal) entry(k string, m *jetstream.RawStreamMsg) (e Entry, found bool, err error) {
	if m.Header.Get("KV-Operation") != "" || m.Header.Get(jetstream.MarkerReasonHeader) != "" {
		// Somebody has deleted it with another client.
		return Entry{Revision: m.Sequence}, false, nil
	}
	e, err = decode(m.Data)
	if errors.Is(err, errBroken) {
		if session, call, ok := ids(k); ok {
			j.opts.Log.Error("an entry of the journal can't be read; its call counts as started", "key", k, "revision", m.Sequence, "error", err)
			e, err = Entry{Session: session, Call: call}, nil
		}
	}
	if err != nil {
		return Entry{}, false, fmt.Errorf("entry %s: %w", k, err)
	}
	e.Revision = m.Sequence
	return e, true, nil
}

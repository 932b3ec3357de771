package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// headroom is what a message has besides its value, in bytes, and more.
const headroom = 512

// attempts is how often one operation meets a conflict before it gives up: each
// means that somebody else has written in between.
const attempts = 4

// Start writes that a call is about to run, and returns the entry's revision. It
// succeeds for one owner only. [ErrOwned]: the call is somebody else's or is
// finished, and must not be run. Any other error: it may or may not be written,
// and Start may be called again; it then succeeds if the entry is ours.
func (j *Journal) Start(ctx context.Context, e Entry) (revision uint64, err error) {
	if j.opts.Writable != nil {
		if err := j.opts.Writable(); err != nil {
			return 0, err
		}
	}
	e.Finished, e.Quarantined, e.Content = false, "", nil
	ours := func(old Entry) (uint64, bool, error) {
		if old.Owner == e.Owner && !old.Finished {
			return 0, true, nil // an earlier Start that was thought lost
		}
		return 0, false, ErrOwned
	}
	return j.write(ctx, e, 0, ours)
}

// Finish writes a call's result over the entry with e's revision, and returns
// the new one. Revision 0 means that the caller knows of no entry. [ErrOwned]:
// another owner has written since; its result counts. A [*TooLargeError] is for
// good. Any other error: it may or may not be written, and Finish may be called
// again, with the same result or another. A result with Quarantined set can't be
// sent: it stays until somebody names it to Forget.
func (j *Journal) Finish(ctx context.Context, e Entry) (revision uint64, err error) {
	e.Finished = true
	want, err := encode(e)
	if err != nil {
		return 0, err
	}
	ours := func(old Entry) (uint64, bool, error) {
		if old.Owner != e.Owner {
			return 0, false, ErrOwned
		}
		have, err := encode(old)
		// Else it is our start, or a result of ours that was replaced.
		return old.Revision, err == nil && bytes.Equal(have, want), nil
	}
	return j.write(ctx, e, e.Revision, ours)
}

// write writes an entry where the last revision of its key is after. Where it is
// another, settle says of the entry that stands there whether it is the one to be
// written, or over which revision to try again, or whose it is.
func (j *Journal) write(ctx context.Context, e Entry, after uint64,
	settle func(old Entry) (after uint64, done bool, err error)) (revision uint64, err error) {
	value, err := encode(e)
	if err != nil {
		return 0, err
	}
	if limit := int(j.js.Conn().MaxPayload()) - headroom; len(value) > limit {
		return 0, &TooLargeError{Size: len(e.Content), Limit: limit - (len(value) - len(e.Content))}
	}
	k := key(e.Session, e.Call)
	j.writes.set(k, 0) // from here on nobody knows, until the outcome does
	ctx, cancel := j.bound(ctx)
	defer cancel()
	for range attempts {
		ack, err := j.js.PublishMsg(ctx, &nats.Msg{Subject: j.prefix + k, Data: value, Header: nats.Header{}},
			jetstream.WithExpectLastSequencePerSubject(after))
		if err == nil {
			j.note(nil)
			j.writes.set(k, ack.Sequence)
			j.stand(ack.Sequence, k)
			return ack.Sequence, nil
		}
		if !isConflict(err) {
			err = because(ctx, err)
			j.note(err)
			return 0, fmt.Errorf("journal: %w", err)
		}
		old, found, err := j.read(ctx, k)
		switch {
		case err != nil:
			return 0, fmt.Errorf("journal: %w", because(ctx, err))
		case !found:
			after = old.Revision // it was forgotten meanwhile
			continue
		}
		over, done, err := settle(old)
		if err != nil {
			j.foreign(old, k)
			return 0, err
		}
		if done {
			j.writes.set(k, old.Revision)
			j.stand(old.Revision, k)
			return old.Revision, nil
		}
		after = over
	}
	return 0, errors.New("journal: somebody else writes the same entry again and again")
}

// isConflict reports whether a write was refused because the key's last revision
// is another. A bucket with copies says so by a code of its own.
func isConflict(err error) bool {
	var e *jetstream.APIError
	return errors.As(err, &e) && (e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// foreign keeps an entry that turned out to be another's. The one writer of a
// bucket must know of all that stands; else it is nothing to us.
func (j *Journal) foreign(old Entry, k string) {
	if j.opts.Sole {
		j.writes.set(k, old.Revision)
		return
	}
	j.writes.drop(k)
}

package loop

import (
	"context"
	"errors"

	"toolhand/internal/journal"
	"toolhand/internal/tools"
)

// Durable is a [Journal] that outlives the process: it keeps a session's entries
// in a journal on NATS. Make it with [NewDurable]; it is safe for use by many
// goroutines.
type Durable struct {
	journal *journal.Journal
	left    func([]tools.Call)
}

// NewDurable makes a journal of one that is open. left is given the calls that
// a dead worker had started, before Recover returns them: what still runs of them
// has to be stopped before anybody goes on with them. Nil: nothing is.
func NewDurable(j *journal.Journal, left func([]tools.Call)) *Durable {
	return &Durable{journal: j, left: left}
}

// Start implements [Journal].
func (d *Durable) Start(ctx context.Context, e Entry) (uint64, error) {
	revision, err := d.journal.Start(ctx, written(e))
	return revision, journalError(err)
}

// Finish implements [Journal].
func (d *Durable) Finish(ctx context.Context, e Entry) (uint64, error) {
	if e.Quarantined != "" {
		revision, err := d.journal.Quarantine(ctx, written(e), e.Quarantined)
		return revision, journalError(err)
	}
	revision, err := d.journal.Finish(ctx, written(e))
	return revision, journalError(err)
}

// Forget implements [Journal].
func (d *Durable) Forget(ctx context.Context, session string, calls []string) error {
	return journalError(d.journal.Forget(ctx, session, calls...))
}

// Recover implements [Journal].
func (d *Durable) Recover(ctx context.Context, session string, have []Entry) ([]Entry, error) {
	before := make([]journal.Entry, len(have))
	for i, e := range have {
		before[i] = written(e)
	}
	entries, err := d.journal.Recover(ctx, session, before)
	var all []Entry
	var left []tools.Call
	for _, e := range entries {
		if !e.Finished {
			left = append(left, tools.Call{ID: e.Call, Tool: e.Tool, Session: e.Session, Thread: e.Thread, Deadline: e.Deadline})
		}
		all = append(all, Entry{
			Session: e.Session, Call: e.Call, Tool: e.Tool, Thread: e.Thread, Owner: e.Owner,
			Received: e.Received, Deadline: e.Deadline, Finished: e.Finished,
			Result:  tools.Result{Content: e.Content, IsError: e.IsError},
			Outcome: Outcome(e.Outcome), Quarantined: e.Quarantined, Withheld: e.Withheld, Revision: e.Revision,
		})
	}
	if d.left != nil && err == nil {
		d.left(left)
	}
	return all, err
}

// written is an entry as the journal keeps it.
func written(e Entry) journal.Entry {
	return journal.Entry{
		Session: e.Session, Call: e.Call, Tool: e.Tool, Thread: e.Thread, Owner: e.Owner,
		Received: e.Received, Deadline: e.Deadline, Finished: e.Finished,
		Content: e.Result.Content, IsError: e.Result.IsError,
		Outcome: string(e.Outcome), Quarantined: e.Quarantined, Withheld: e.Withheld, Revision: e.Revision,
	}
}

// journalError is a journal's error in the loop's words.
func journalError(err error) error {
	var large *journal.TooLargeError
	switch {
	case errors.Is(err, journal.ErrOwned):
		return ErrOwned
	case errors.As(err, &large):
		return &TooLargeError{Size: large.Size, Limit: large.Limit}
	}
	return err
}

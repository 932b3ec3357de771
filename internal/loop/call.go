package loop

import (
	"encoding/json"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
)

// state is where a call is on its way.
type state uint8

const (
	pending  state = iota // no run has it: it is about to begin, or left to the next worker
	running               // a run has it
	finished              // its result stands
	ignored               // no tool of ours has its name; left to another client
	foreign               // another worker has started it
	ended                 // sent or moot: stays until nothing of it is under way
	held                  // waits for permission: nothing of it has begun
)

var stateNames = [...]string{"pending", "running", "finished", "ignored", "foreign", "ended", "held"}

func (s state) String() string { return stateNames[s] }

// open reports whether a call in this state still owes an answer of ours.
func (s state) open() bool { return s == pending || s == running || s == finished }

// waits reports whether a call in this state is one of ours that has not ended.
func (s state) waits() bool { return s.open() || s == held }

// journalWrite is the write of a result to the journal: none, under way, done, or to be
// tried again.
type journalWrite struct {
	inFlight bool
	done     bool
	retryAt  time.Time // zero: not asked to retry
	err      error     // of the last try
}

// due reports whether the operation can be given out now.
func (o *journalWrite) due(now time.Time) bool {
	return !o.inFlight && !o.done && !now.Before(o.retryAt)
}

func (o *journalWrite) begin() { o.inFlight = true }

func (o *journalWrite) finish(now time.Time, err error, retry time.Duration) {
	o.inFlight, o.err, o.done = false, err, err == nil
	if err != nil {
		o.retryAt = now.Add(retry)
	}
}

// standIn says whether a short error stands in the place of a result, and why.
type standIn uint8

const (
	asGiven    standIn = iota // the result itself is sent
	forProxy                  // others get through and it does not: a proxy may refuse its content
	forRefusal                // the API itself refused it
)

// call is one call in the ledger, which owns every field.
type call struct {
	id, name, thread string
	input            json.RawMessage // dropped when the call ends
	tool             *registry.Tool  // in force when the call was received; nil where none
	processedAt      time.Time       // zero where it is not known (recovered)
	received         time.Time
	deadline         time.Time // zero where it has not begun
	state            state
	doubted          bool // the journal may have lost that it was started
	// While it is held:
	permission string // given, or with what it waits; empty where it is not known (recovered)
	stale      bool   // a turn ended while it was held

	// While it runs:
	alive     bool       // its run goes on
	starting  bool       // the journal may be writing its start
	revision  uint64     // the fence of its entry
	inJournal bool       // an entry may stand, which is to be forgotten
	resume    bool       // an earlier process started it: only its result is waited for
	late      run.Answer // at its deadline, where no run has it any more
	phases    run.Phases

	// When it is finished:
	answer     run.Answer
	finishedAt time.Time
	finish     journalWrite // the journal's Finish of answer
	rewrite    bool         // the write under way is of an older result
	unlooked   bool         // the journal keeps what it has until the history was read

	// What the history and the stream say of it:
	lookSeq   int       // the read after which an ignored name is looked at again; 0: none
	behind    bool      // a fresh read shows an ended turn after it: nobody waits for it
	named     bool      // an idle event said that the session waits for it
	unsettled bool      // may be answered already: not sent before fresh history says
	mayBeOurs bool      // an answer that is there may be ours: a send's outcome is not known
	settleAt  time.Time // until then an echo on the stream may settle it
	settleSeq int       // the read that settles it; 0: not asked for yet

	// Where its answer was refused, or did not get through:
	group    int     // calls whose batch was refused are sent apart from the others
	tries    int     // sends of it in its group without a word of the API
	lone     int     // sends of it alone like that while others passed
	silent   bool    // there was such a send
	passed   int64   // how many sends the API had accepted then, of all sessions
	replaced bool    // answer is the short error in the place of one that the journal does not take
	standIn  standIn // whether answer is the short error in the place of original, which the journal keeps
	probed   bool    // a short error fared no better than original with a proxy
	why      string  // the words of the refusal
	passes   int     // how many batches of this session were accepted before answer was replaced
	original run.Answer
	setAside string // why original is set aside for good; empty: it is not
}

// writeGrace is how long a result waits for the journal before it is sent all the
// same: its start stands there, so nothing can run twice.
const writeGrace = 2 * time.Second

// sendable reports whether the call's result may go out now.
func (c *call) sendable(now time.Time) bool {
	return c.state == finished && !c.unsettled && (c.finish.done || !now.Before(c.finishedAt.Add(writeGrace)))
}

// busy reports whether something of the call is still under way.
func (c *call) busy() bool { return c.alive || c.finish.inFlight }

// resumable reports whether the call's handler can wait for the result of a call
// that an earlier process started.
func (c *call) resumable() bool {
	if c.tool == nil || c.tool.Idempotent {
		return false // run again, it finds its own result
	}
	_, ok := c.tool.Handler.(tools.Resumer)
	return ok
}

func (c *call) report(now time.Time, o run.Outcome) run.Report {
	r := run.Report{
		ID: c.id, Tool: c.name, Thread: c.thread, Outcome: o, Received: c.received, Duration: now.Sub(c.received),
		Phases: c.phases, Bytes: len(c.answer.Result.Content), Result: c.answer.Result, Reason: c.answer.Reason,
	}
	if !c.finishedAt.IsZero() && o == c.answer.Outcome {
		r.Phases.Send = now.Sub(c.finishedAt)
	}
	if o == c.answer.Outcome { // else the caller knows why
		r.Cause = c.answer.Cause()
	}
	return r
}

func (c *call) entry(session, owner string) journal.Entry {
	e := journal.Entry{
		Session: session, Call: c.id, Tool: c.name, Thread: c.thread, Owner: owner,
		Received: c.received, Deadline: c.deadline, Revision: c.revision,
		Finished: c.state == finished,
	}
	a := c.answer
	if c.standIn != asGiven {
		a = c.original
	}
	if c.setAside != "" {
		e.Finished, e.Quarantined = true, c.setAside
		a = c.original
		a.Outcome = run.Quarantined
	}
	e.Content, e.IsError, e.Outcome = a.Result.Content, a.Result.IsError, string(a.Outcome)
	return e
}

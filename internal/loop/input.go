package loop

import (
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
	"toolhand/internal/upstream"
)

// Input is something that has happened, as the ledger takes it in.
type Input interface{ isInput() }

type (
	// tick: time has passed.
	tick struct{}
	// attached: the stream is open; what came before is in the history only.
	attached struct{}
	// received: an event came on the stream.
	received struct{ event upstream.Event }
	// recovered: the journal's entries of this session, before all else.
	recovered struct{ entries []journal.Entry }
	// history: a read asked for by readHistory has ended.
	history struct {
		seq      int
		session  *upstream.Session // set where it was asked for
		events   []upstream.Event  // oldest first
		complete bool              // the log's first event is among them
	}
	// primary: the read asked for by findPrimary has ended; empty where the log
	// has no thread status yet.
	primary struct{ thread string }
	// gone: the session can't be served any more.
	gone struct{ why string }
	// forbidden: the credential may not use this session, for now.
	forbidden struct{}
	// ran: a call's run has come to its end, or at its deadline to an answer.
	ran struct {
		id  string
		end run.End
	}
	// finishDone: the journal's Finish has ended.
	finishDone struct {
		id       string
		revision uint64
		err      error
	}
	// forgotten: the journal's Forget has ended.
	forgotten struct {
		ids []string
		err error
	}
	// sent: the send under way has ended.
	sent struct {
		err    error
		passed int64 // how many sends the API has accepted so far, of all sessions
	}
	// reloaded: the set of tools has changed.
	reloaded struct{}
	// drain: no new calls; finish what runs.
	drain struct{}
	// abandon: the grace is over, stop everything.
	abandon struct{}
)

func (tick) isInput()       {}
func (attached) isInput()   {}
func (received) isInput()   {}
func (recovered) isInput()  {}
func (history) isInput()    {}
func (primary) isInput()    {}
func (ran) isInput()        {}
func (gone) isInput()       {}
func (forbidden) isInput()  {}
func (finishDone) isInput() {}
func (forgotten) isInput()  {}
func (sent) isInput()       {}
func (reloaded) isInput()   {}
func (drain) isInput()      {}
func (abandon) isInput()    {}

// Output is something to be done now, as the ledger says it.
type Output interface{ isOutput() }

type (
	// give: let the call run.
	give struct{ call run.Call }
	// stop: end the call's run, and its tool with it.
	stop struct {
		id    string
		cause error
	}
	// takeBack: end the call's run, unless its handler has it.
	takeBack struct{ id string }
	// finish: write the call's result to the journal.
	finish struct{ entry journal.Entry }
	// forget: drop these calls' entries.
	forget struct{ ids []string }
	// send: send these results in one batch.
	send struct{ answers []upstream.Answer }
	// readHistory: read the history, newest first, until an ended turn with
	// none of open behind it. It is read until it succeeds.
	readHistory struct {
		seq     int
		open    []string
		session bool // get the session first
	}
	// findPrimary: read which thread is the primary one.
	findPrimary struct{}
	// answered: the API has accepted a call's result.
	answered struct{ report run.Report }
	// dropped: a call will not be answered, and why.
	dropped struct{ report run.Report }
	// late: a handler returned after its call was answered for.
	late struct {
		id, tool string
		after    time.Duration
		err      error
	}
	// quarantine: a result that the API refuses for good is set aside.
	quarantine struct {
		report run.Report
		why    string
	}
	// notice: something an operator may want to know.
	notice struct {
		text string
		args []any
		warn bool
	}
	// end: the session is served to its end.
	end struct{ reason Reason }
)

func (give) isOutput()        {}
func (stop) isOutput()        {}
func (takeBack) isOutput()    {}
func (finish) isOutput()      {}
func (forget) isOutput()      {}
func (send) isOutput()        {}
func (readHistory) isOutput() {}
func (findPrimary) isOutput() {}
func (answered) isOutput()    {}
func (dropped) isOutput()     {}
func (late) isOutput()        {}
func (quarantine) isOutput()  {}
func (notice) isOutput()      {}
func (end) isOutput()         {}

// Reason is why a session is not served any more.
type Reason string

// The reasons for the end of [Serve].
const (
	ReasonOver    Reason = "over"    // terminated, deleted, archived, or not found
	ReasonIdle    Reason = "idle"    // its turn ended max_idle ago
	ReasonDrained Reason = "drained" // asked to stop, and nothing is left running
	ReasonStopped Reason = "stopped" // the grace was over
)

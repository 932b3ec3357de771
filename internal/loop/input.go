package loop

import (
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
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
	// admitted: the call has its slot, and its input is valid.
	admitted struct{ id string }
	// rejected: the call's input is invalid, or its check panicked.
	rejected struct {
		id      string
		text    string
		outcome Outcome
		reason  string // of Unavailable
	}
	// started: the journal's Start has ended.
	started struct {
		id       string
		revision uint64
		err      error
	}
	// returned: the call's goroutine has ended; nothing of it runs any more.
	returned struct {
		id       string
		result   tools.Result
		err      error
		panicked bool
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
func (gone) isInput()       {}
func (forbidden) isInput()  {}
func (admitted) isInput()   {}
func (rejected) isInput()   {}
func (started) isInput()    {}
func (returned) isInput()   {}
func (finishDone) isInput() {}
func (forgotten) isInput()  {}
func (sent) isInput()       {}
func (reloaded) isInput()   {}
func (drain) isInput()      {}
func (abandon) isInput()    {}

// Output is something to be done now, as the ledger says it.
type Output interface{ isOutput() }

type (
	// queue: get a slot for the call and check its input.
	queue struct {
		call  tools.Call
		tool  *registry.Tool
		again bool // its handler had it before
		// resume: an earlier process started it, and only its result is waited for.
		resume bool
	}
	// start: write to the journal that the call starts.
	start struct{ entry journal.Entry }
	// run: let the handler have the call.
	run struct{ id string }
	// stop: end the call's goroutine, and its tool with it.
	stop struct {
		id    string
		cause error
	}
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
	answered struct{ report Report }
	// dropped: a call will not be answered, and why.
	dropped struct{ report Report }
	// late: a handler returned after its call was answered for.
	late struct {
		id, tool string
		after    time.Duration
		err      error
	}
	// quarantine: a result that the API refuses for good is set aside.
	quarantine struct {
		report Report
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

func (queue) isOutput()       {}
func (start) isOutput()       {}
func (run) isOutput()         {}
func (stop) isOutput()        {}
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

// Report is what is said of a call when it ends.
type Report struct {
	Session  string
	ID       string
	Tool     string
	Thread   string
	Outcome  Outcome
	Received time.Time
	Duration time.Duration // from its receipt to now
	Ran      time.Duration // in its handler; 0 where it did not run
	Bytes    int           // of its result
	Result   tools.Result
	// Cause says why the outcome is not ok, with nothing of what went into the tool
	// or came out of it. Empty where it is.
	Cause string
	// Reason is what stands in the result's text after the words of the worker, where
	// the outcome is unavailable or unknown_outcome.
	Reason string
}

// Reason is why a session is not served any more.
type Reason string

// The reasons for the end of [Serve].
const (
	ReasonOver    Reason = "over"    // terminated, deleted, archived, or not found
	ReasonIdle    Reason = "idle"    // its turn ended max_idle ago
	ReasonDrained Reason = "drained" // asked to stop, and nothing is left running
	ReasonStopped Reason = "stopped" // the grace was over
)

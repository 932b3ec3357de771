package run

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"toolhand/internal/registry"
	"toolhand/internal/schema"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// Outcome is what a call came to, as logs, metrics and the status name it.
type Outcome string

// The outcomes of a call.
const (
	OK             Outcome = "ok"
	Failed         Outcome = "error"
	Invalid        Outcome = "invalid"
	UnknownTool    Outcome = "unknown_tool"
	Deadline       Outcome = "deadline"
	Unavailable    Outcome = "unavailable"
	UnknownOutcome Outcome = "unknown_outcome"
	Interrupted    Outcome = "interrupted"
	Denied         Outcome = "denied"
	Elsewhere      Outcome = "elsewhere"
	Quarantined    Outcome = "quarantined"
	// Over is a call whose session ended before it was answered; it is logged
	// like an interrupted one.
	Over = Interrupted
)

// Outcomes are all that there are.
func Outcomes() []Outcome {
	return []Outcome{OK, Failed, Invalid, UnknownTool, Deadline, Unavailable, UnknownOutcome, Interrupted, Denied, Elsewhere, Quarantined}
}

// ErrDeadline is why a call is stopped whose deadline has passed.
var ErrDeadline = errors.New("the call's deadline passed")

// An Answer is what a call is answered with.
type Answer struct {
	Result  tools.Result
	Outcome Outcome
	// Own says that the result is the worker's, and not the tool's.
	Own bool
	// Reason is what stands in the result's text after the words of the worker, where
	// the outcome is unavailable or unknown_outcome, without what the tool's other end
	// has said.
	Reason string
}

// The answers that the worker gives itself. Their beginnings are fixed: agents'
// prompts and checks outside rely on them.

func own(o Outcome, format string, args ...any) Answer {
	return Answer{Result: content.Error(fmt.Sprintf(format, args...)), Outcome: o, Own: true}
}

func ownReason(o Outcome, why error, format string, args ...any) Answer {
	text := fmt.Sprintf(format, args...) + ": " + why.Error()
	if said := tools.Said(why); said != "" {
		text += "\n" + said
	}
	a := own(o, "%s", text)
	a.Reason = why.Error()
	return a
}

// AnswerUnknown answers a call of a tool that is not known.
func AnswerUnknown(name string) Answer { return own(UnknownTool, "Unknown tool: %s", name) }

// AnswerLate answers a call at its deadline, whose handler could not be reached where away
// says why.
func AnswerLate(t *registry.Tool, away error) Answer {
	if away != nil {
		return AnswerUnavailable(t.Name, away)
	}
	return own(Deadline, "Tool %q did not finish within its deadline of %s", t.Name, t.DeadlineText)
}

// unjournalled is the deadline's answer for a call that was never started, since its
// start could not be written down.
func unjournalled(t *registry.Tool, why error) Answer {
	return own(Deadline, "Tool %q did not finish within its deadline of %s: it was not started, because the worker's journal can't be written: %s",
		t.Name, t.DeadlineText, why)
}

// errSilent is why a call was not started whose first try to write that down has
// no outcome yet.
var errSilent = errors.New("it has not answered yet")

// AnswerRestarted answers a call that an earlier process has started.
func AnswerRestarted(name string) Answer {
	return own(UnknownOutcome, "Tool %q was interrupted by a worker restart: its outcome is unknown", name)
}

// AnswerLost answers a call that was stopped, or whose answer was lost, for a reason fit
// for an agent's eyes.
func AnswerLost(name string, why error) Answer {
	return ownReason(UnknownOutcome, why, "Tool %q was interrupted: its outcome is unknown", name)
}

// AnswerUnavailable answers a call that did not run, for a reason fit for an agent's eyes.
func AnswerUnavailable(name string, why error) Answer {
	return ownReason(Unavailable, why, "Tool %q is unavailable", name)
}

func panicked(name string) Answer {
	return own(Failed, "Tool %q failed: its handler panicked; the worker's log has the details", name)
}

// invalid answers a call whose input does not pass the check.
func invalid(name string, err error) Answer {
	var invalid *schema.InvalidError
	if errors.As(err, &invalid) {
		return own(Invalid, "%s", invalid.Text())
	}
	return own(Invalid, "Invalid input for tool %q: %s", name, err)
}

// given is what a handler gave.
func given(r tools.Result) Answer {
	if len(r.Content) == 0 {
		r.Content = content.Text("").Content // nothing at all would spoil its whole batch
	}
	if r.IsError {
		return Answer{Result: r, Outcome: Failed}
	}
	return Answer{Result: r, Outcome: OK}
}

// Cause says why the outcome is not ok, with nothing of what went into the tool or
// came out of it. Empty where it is.
func (a Answer) Cause() string {
	switch {
	case a.Outcome == OK:
		return ""
	case a.Own || a.Outcome != Failed:
		return firstLine(a.Result)
	}
	return cmp.Or(a.Result.Cause, "the result of the tool is an error")
}

// firstLine is what an answer of the worker's own says, without what follows its first
// line: that may name what stood in the input, or what the tool's other end has said.
func firstLine(r tools.Result) string {
	var blocks []struct{ Text string }
	if json.Unmarshal(r.Content, &blocks) != nil || len(blocks) == 0 {
		return ""
	}
	line, _, _ := strings.Cut(blocks[0].Text, "\n")
	return strings.TrimSuffix(line, ":")
}

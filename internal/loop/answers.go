package loop

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"toolhand/internal/journal"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
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

// Why a running call is stopped, as the cause of its context.
var (
	errDeadline    = errors.New("the call's deadline passed")
	errInterrupted = errors.New("the call was interrupted")
	errDenied      = errors.New("the call was denied")
	errElsewhere   = errors.New("the call was answered by another client")
	errOver        = errors.New("the session is over")
	errDrained     = tools.ErrLeft
)

// The answers that the worker gives itself. Their beginnings are fixed: agents'
// prompts and checks outside rely on them.

func unknownToolText(name string) string { return "Unknown tool: " + name }

func deadlineText(t *registry.Tool) string {
	return fmt.Sprintf("Tool %q did not finish within its deadline of %s", t.Name, t.DeadlineText)
}

func restartText(name string) string {
	return fmt.Sprintf("Tool %q was interrupted by a worker restart: its outcome is unknown", name)
}

func lostText(name string, why error) string {
	return fmt.Sprintf("Tool %q was interrupted: its outcome is unknown: %s", name, why)
}

func unavailableText(name string, why error) string {
	return fmt.Sprintf("Tool %q is unavailable: %s", name, why)
}

func panicText(name string) string {
	return fmt.Sprintf("Tool %q failed: its handler panicked; the worker's log has the details", name)
}

func refusedText(name, why string) string {
	s := fmt.Sprintf("Tool %q ran, but the API refused its result", name)
	if why != "" {
		s += ": " + why
	}
	return s
}

// unjournalledText is the deadline's answer for a call that was never started,
// since its start could not be written down.
func unjournalledText(t *registry.Tool, why error) string {
	return deadlineText(t) + ": it was not started, because the worker's journal can't be written: " + why.Error()
}

// errSilent is why a call was not started whose first try to write that down has
// no outcome yet.
var errSilent = errors.New("it has not answered yet")

func tooLargeText(name string, e *journal.TooLargeError) string {
	return fmt.Sprintf("Tool %q ran, but its result of %d bytes is larger than the limit of %d bytes", name, e.Size, e.Limit)
}

// causeIn is what an answer of the worker's own says, without what follows its first
// line: that may name what stood in the input.
func causeIn(r tools.Result) string {
	var blocks []struct{ Text string }
	if json.Unmarshal(r.Content, &blocks) != nil || len(blocks) == 0 {
		return ""
	}
	line, _, _ := strings.Cut(blocks[0].Text, "\n")
	return strings.TrimSuffix(line, ":")
}

// outcomeOf is the outcome of a result that a handler gave.
func outcomeOf(r tools.Result) Outcome {
	if r.IsError {
		return Failed
	}
	return OK
}

package loop

import (
	"errors"
	"fmt"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// Why a running call is stopped, as the cause of its context.
var (
	errInterrupted = errors.New("the call was interrupted")
	errDenied      = errors.New("the call was denied")
	errElsewhere   = errors.New("the call was answered by another client")
	errOver        = errors.New("the session is over")
	errDrained     = tools.ErrLeft
)

// The answers in the place of a result that can't be sent, or not be kept.

func refused(name, why string) run.Answer {
	text := fmt.Sprintf("Tool %q ran, but the API refused its result", name)
	if why != "" {
		text += ": " + why
	}
	return run.Answer{Result: content.Error(text), Outcome: run.Failed, Own: true}
}

func tooLarge(name string, e *journal.TooLargeError) run.Answer {
	text := fmt.Sprintf("Tool %q ran, but its result of %d bytes is larger than the limit of %d bytes", name, e.Size, e.Limit)
	return run.Answer{Result: content.Error(text), Outcome: run.Failed, Own: true}
}

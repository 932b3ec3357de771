package tools

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"
)

// Call is one call of a tool, as its handler receives it. It is passed by value
// and its Input is not written to by anybody.
type Call struct {
	// ID is the id of the agent.custom_tool_use event (sevt_…).
	ID string
	// Tool is the tool's name.
	Tool string
	// Session is the id of the session (sesn_…).
	Session string
	// Thread is the id of the session's thread, empty on the primary thread.
	Thread string
	// Input is the input as the agent wrote it, byte for byte.
	Input json.RawMessage
	// Deadline is the wall-clock time at which the call is answered without
	// its tool.
	Deadline time.Time
}

// Result is what a call is answered with.
type Result struct {
	// Content is a JSON array of at least one content block in the API's own
	// form (text, image, document, search_result); no text in it is empty.
	Content json.RawMessage
	// IsError reports to the agent that the tool failed.
	IsError bool
	// Cause says for the log why it failed, such as its exit status, with nothing of
	// what it printed. Empty: that is not known.
	Cause string
}

// Handler runs calls of one tool. Call may be called by many goroutines at
// once. It returns soon after ctx is done, and not before everything that the
// call started is gone, but for what a server of many calls still does; what it
// returns then is logged at most. ctx carries the deadline and, as its cause, why
// the call is stopped.
type Handler interface {
	Call(ctx context.Context, call Call) (Result, error)
}

// Resumer is a Handler whose calls outlive the worker, such as those in a queue:
// after a restart their results are waited for, and they are not started again.
type Resumer interface {
	Handler
	// Resume waits for the result of a call that an earlier Call may have
	// started. call has no Input. Its errors are those of Call; it never starts
	// the call.
	Resume(ctx context.Context, call Call) (Result, error)
}

// ErrLeft is the cause of a handler's context where the worker shuts down: a
// [Resumer] leaves the call as it is then, all others stop it.
var ErrLeft = errors.New("the worker shuts down")

// UnavailableError says that the handler could not be reached: the call surely
// did not run, so that it may be tried again.
type UnavailableError struct {
	// Err is the reason, fit for an agent's eyes: no user, password or query
	// of a URL in it.
	Err error
	// Passing says that this is the state of a moment, as while a handler is
	// restarted: the call is tried again until its deadline.
	Passing bool
}

func (e *UnavailableError) Error() string { return e.Err.Error() }
func (e *UnavailableError) Unwrap() error { return e.Err }

// LostError says that the call reached the handler and its answer was lost: it
// may have run, once.
type LostError struct {
	// Err is the reason, fit for an agent's eyes.
	Err error
}

func (e *LostError) Error() string { return e.Err.Error() }
func (e *LostError) Unwrap() error { return e.Err }

// SaidError is an error with what the other end of a handler has said, such as the end
// of its stderr. That may be anything, as it is content: so it is no part of the error's
// text, which logs have, and an answer to the agent has it besides; see [Said].
type SaidError struct {
	// Err is the reason, in words of ours.
	Err error
	// Said is what was said, and a word on where, fit for an agent's eyes.
	Said string
}

func (e *SaidError) Error() string { return e.Err.Error() }
func (e *SaidError) Unwrap() error { return e.Err }

// Said is what the other end has said, by each [SaidError] that err wraps. Empty: nothing.
func Said(err error) string {
	var all []string
	for e := (*SaidError)(nil); errors.As(err, &e); err = e.Err {
		if !slices.Contains(all, e.Said) {
			all = append(all, e.Said)
		}
	}
	return strings.Join(all, "\n")
}

// Common is what every kind of handler is made with.
type Common struct {
	// Name is the tool's name.
	Name string
	// Dir is the absolute path of tools.d, against which relative paths stand.
	Dir string
	// MaxResultBytes bounds the text of a result, in bytes, its marker
	// included. Zero means 262144.
	MaxResultBytes int
	// Idempotent reports whether a call may be run again.
	Idempotent bool
	// Log receives what happens around calls, never their content above the
	// debug level. Nil discards.
	Log *slog.Logger
	// LookupEnv finds a variable of the worker's environment. Nil means
	// os.LookupEnv.
	LookupEnv func(string) (string, bool)
}

// Config is the configuration of one kind of handler: a struct with a field for each
// key that a manifest may have, a string, bool, int, time.Duration, []string or
// map[string]string, which its tag yaml names. A field with "-" is none that can be read
// by its type alone.
type Config interface {
	// Schema gives the JSON Schema of the mapping with these keys, in the order of the
	// fields. It may refer to the $defs of the manifest's form; its titles say what is
	// expected of a value, for messages, and writeOnly that one is never shown.
	Schema() string
}

// Live is what a handler has that can ask whether its other end is there. Live
// runs no tool. It returns nil if the other end was found, [ErrNotTold] (wrapped,
// with the reason) if that can't be known, and otherwise why it is not there,
// fit for anybody's eyes. It ends with ctx.
type Live interface {
	Live(ctx context.Context) error
}

// ErrNotTold says that nobody can tell whether the other end is there.
var ErrNotTold = errors.New("can't be told")

// Describe tells about a call in headers, the same in every kind of handler that
// has any.
func Describe(call Call, set func(name, value string)) {
	set("Tool-Name", call.Tool)
	set("Tool-Use-Id", call.ID)
	set("Session-Id", call.Session)
	set("Session-Thread-Id", call.Thread)
	set("Tool-Deadline", call.Deadline.Format(time.RFC3339Nano))
	set("Idempotency-Key", call.ID)
}

// IsReserved reports whether a variable of this name may hold a credential of the
// worker's own.
func IsReserved(name string) bool { return strings.HasPrefix(name, "ANTHROPIC_") }

// Lookup finds a variable of the worker's environment.
func (c Common) Lookup(name string) (string, bool) {
	if c.LookupEnv == nil {
		return os.LookupEnv(name)
	}
	return c.LookupEnv(name)
}

// Logger is Log, or one that discards.
func (c Common) Logger() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

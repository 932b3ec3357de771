package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Kind says what an error means for the one who made the request.
type Kind int

// The kinds of errors. The zero value is KindUnknown, the careful reading.
const (
	// KindUnknown: the API may or may not have acted (timeout, reset, 5xx, an
	// answer that can't be decoded or does not carry the API's own error, such as
	// a proxy's page). A read is simply tried again; a send is settled first.
	KindUnknown Kind = iota
	// KindRetry: the API surely did not act, and may do so later (its own 429 or
	// 409, a connection that was not made, a 404 of another type than
	// not_found_error).
	KindRetry
	// KindRefused: the API itself refused what was asked, for good (400, 412,
	// 413, 422, 431, 501).
	KindRefused
	// KindCredential: the API itself does not accept the credential (401).
	KindCredential
	// KindForbidden: the API itself says that the credential may not use this
	// session (402, 403).
	KindForbidden
	// KindGone: the session does not exist any more (404 or 410 with the API's
	// own not_found_error).
	KindGone
)

var kindNames = [...]string{"unknown", "retry", "refused", "credential", "forbidden", "gone"}

func (k Kind) String() string { return kindNames[k] }

// Error is how a request to the API failed. It holds no credential and no body
// beyond the API's own message.
type Error struct {
	// Op is what was asked: stream, list, get or send.
	Op string
	// Status is the HTTP status, 0 where no response came.
	Status int
	// Type is the API's own error type, such as not_found_error. It is empty where
	// the response does not carry the API's own error.
	Type string
	// Code is the API's own name for the cause (error.details.error_code), where it
	// gives one.
	Code string
	// Message is the message of the error, shortened, or empty.
	Message string
	// RetryAfter is the least wait that the API asks for, or 0.
	RetryAfter time.Duration
	// Err is the cause where no response came, or where it could not be read.
	Err error

	kind Kind // where no response says it
}

// Kind says what e means.
func (e *Error) Kind() Kind {
	if e.kind != KindUnknown {
		return e.kind
	}
	return kindOf(e.Status, e.Type, e.Code)
}

func (e *Error) Error() string {
	s := e.Op + ": "
	switch {
	case e.Status == 0:
	case e.Type != "" || e.Message != "":
		kind := e.Type
		if e.Code != "" {
			kind += " (" + e.Code + ")"
		}
		s += fmt.Sprintf("%d %s: %s", e.Status, kind, e.Message)
	default:
		s += fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Err != nil {
		if e.Status != 0 {
			s += ": "
		}
		s += e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of err, KindUnknown where it is no [*Error].
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind()
	}
	return KindUnknown
}

// Overloaded reports whether err is the API's own word that it has too much to
// do, which has nothing to do with what was asked.
func Overloaded(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Type == "overloaded_error"
}

// RetryAfter returns the least wait that the API asked for with err, or 0.
func RetryAfter(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// codeBodyTimeout is the API's word that a body did not arrive in time, which says
// nothing against its content: a slow line may carry less of it at once.
const codeBodyTimeout = "request_body_timeout"

// kindOf classifies a response by its status and the API's error type, which is
// empty where the response does not carry the API's own error: then somebody else
// answered, and whether the API has acted is not known. A code that is not known
// here says no more than the type.
func kindOf(status int, errorType, code string) Kind {
	if errorType == "" || code == codeBodyTimeout || status < 300 || status == http.StatusRequestTimeout || status == 499 {
		return KindUnknown
	}
	switch status {
	case http.StatusUnauthorized:
		return KindCredential
	case http.StatusPaymentRequired, http.StatusForbidden:
		return KindForbidden
	case http.StatusNotFound, http.StatusGone:
		if errorType == "not_found_error" {
			return KindGone
		}
		// A wrong base path: it may come right.
		return KindRetry
	case http.StatusConflict, http.StatusTooManyRequests:
		return KindRetry
	case http.StatusNotImplemented:
		return KindRefused
	}
	if status < 500 {
		return KindRefused
	}
	return KindUnknown
}

// maxRetryAfter bounds what a retry-after header can ask for, so that a proxy's
// nonsense doesn't silence a session for days.
const maxRetryAfter = 10 * time.Minute

// retryAfter reads the wait that a response asks for, in seconds or as a date
// (RFC 9110, 10.2.3), or the milliseconds of the SDK's own header.
func retryAfter(h http.Header, now time.Time) time.Duration {
	var d time.Duration
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil {
		d = time.Duration(min(ms, float64(maxRetryAfter.Milliseconds())) * float64(time.Millisecond))
	} else if v := h.Get("Retry-After"); v != "" {
		if s, err := strconv.ParseFloat(v, 64); err == nil {
			d = time.Duration(min(s, maxRetryAfter.Seconds()) * float64(time.Second))
		} else if t, err := http.ParseTime(v); err == nil {
			// A date is by the sender's clock, which its Date shows; ours may differ.
			if sent, err := http.ParseTime(h.Get("Date")); err == nil {
				now = sent
			}
			d = t.Sub(now)
		}
	}
	return max(0, min(d, maxRetryAfter))
}

package sim

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Refuse answers with an API error of this status, and the request has no
// effect.
func Refuse(status int) Action {
	return RefuseAs(status, errorType(status), "refused by a fault of the simulation")
}

// RefuseAs is Refuse with the error's type and message, such as a 404 without
// not_found_error.
func RefuseAs(status int, kind, message string) Action {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			writeError(w, &apiError{status, kind, message}, w.Header().Get("request-id"))
		})
	}
}

// RetryAfter answers with an API error and a retry-after of whole seconds.
func RetryAfter(status, seconds int) Action {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("retry-after", strconv.Itoa(seconds))
			Refuse(status)(nil).ServeHTTP(w, r)
		})
	}
}

// Respond answers with any status, content type and body, and the request has
// no effect: a proxy's HTML under 200 or 404, a 200 that is no stream.
func Respond(status int, contentType, body string) Action {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body)) // the client may have left
		})
	}
}

// Redirect answers with a redirect to another URL.
func Redirect(status int, url string) Action {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", url)
			w.WriteHeader(status)
		})
	}
}

// Delay waits before anything is done, headers included, then answers as usual.
func Delay(d time.Duration) Action {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if sleep(r, d) {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// DelayAnswer does what was asked at once, and waits before the answer.
func DelayAnswer(d time.Duration) Action {
	return afterwards(func(w http.ResponseWriter, r *http.Request, answer *buffer) {
		if sleep(r, d) {
			answer.writeTo(w)
		}
	})
}

// Hang never answers, and the request has no effect. It ends with the client
// or the server. It is for requests that a test cancels.
func (s *Server) Hang() Action {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.hang(r) })
	}
}

// HangAfter does what was asked and never answers.
func (s *Server) HangAfter() Action {
	return afterwards(func(w http.ResponseWriter, r *http.Request, _ *buffer) { s.hang(r) })
}

func (s *Server) hang(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-s.done:
	}
}

// ResetBefore breaks the connection off, and the request has no effect.
func ResetBefore() Action {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { breakOff(w) })
	}
}

// ResetAfter does what was asked, then breaks the connection off.
func ResetAfter() Action {
	return afterwards(func(w http.ResponseWriter, _ *http.Request, _ *buffer) { breakOff(w) })
}

// RespondAfter does what was asked, then answers with something else: a 500, or
// a 200 that can't be decoded.
func RespondAfter(status int, contentType, body string) Action {
	return afterwards(func(w http.ResponseWriter, r *http.Request, _ *buffer) {
		Respond(status, contentType, body)(nil).ServeHTTP(w, r)
	})
}

// Trickle answers as usual, the body in pieces of n bytes with a wait of d
// between them: a timeout that every byte resets never ends it.
func Trickle(n int, d time.Duration) Action {
	return afterwards(func(w http.ResponseWriter, r *http.Request, answer *buffer) {
		answer.head(w)
		for piece := range slices.Chunk(answer.body.Bytes(), n) {
			if _, err := w.Write(piece); err != nil || flush(w) != nil || !sleep(r, d) {
				return
			}
		}
	})
}

// Truncate answers as usual, but breaks the connection off after n bytes of the
// body.
func Truncate(n int) Action {
	return afterwards(func(w http.ResponseWriter, _ *http.Request, answer *buffer) {
		answer.head(w)
		if b := answer.body.Bytes(); len(b) > 0 {
			_, _ = w.Write(b[:min(n, len(b))]) // it breaks anyway
		}
		_ = flush(w)
		breakOff(w)
	})
}

// LimitAbove chooses lists whose limit is above n, or absent.
func LimitAbove(n int) func(Request) bool {
	return func(q Request) bool {
		limit, err := strconv.Atoi(q.Query.Get("limit"))
		return err != nil || limit > n
	}
}

// Mentions chooses requests whose body holds a text, such as a call's id.
func Mentions(text string) func(Request) bool {
	return func(q Request) bool { return bytes.Contains(q.Body, []byte(text)) }
}

// sleep waits, and reports whether the client is still there.
func sleep(r *http.Request, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-r.Context().Done():
		return false
	case <-t.C:
		return true
	}
}

// buffer is an answer that is held back.
type buffer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffer) Header() http.Header { return b.header }

func (b *buffer) WriteHeader(status int) {
	if b.status == 0 {
		b.status = status
	}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	return b.body.Write(p)
}

func (b *buffer) head(w http.ResponseWriter) {
	for name, values := range b.header {
		w.Header()[name] = values
	}
	w.WriteHeader(b.status)
}

func (b *buffer) writeTo(w http.ResponseWriter) {
	b.head(w)
	_, _ = w.Write(b.body.Bytes()) // the client may have left
}

// afterwards lets the API act, and gives its answer to then. It is not for
// streams, whose answer never ends.
func afterwards(then func(http.ResponseWriter, *http.Request, *buffer)) Action {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := &buffer{header: http.Header{}}
			next.ServeHTTP(answer, r)
			then(w, r, answer)
		})
	}
}

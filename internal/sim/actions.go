package sim

import (
	"net/http"
	"strconv"
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

// Hang never answers, and the request has no effect. It ends with the client
// or the server. It is for requests that a test cancels.
func (s *Server) Hang() Action {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.hang(r) })
	}
}

// HangAfter does what was asked and never answers.
func (s *Server) HangAfter() Action {
	return afterwards(func(_ http.ResponseWriter, r *http.Request) { s.hang(r) })
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
	return afterwards(func(w http.ResponseWriter, _ *http.Request) { breakOff(w) })
}

// unheard takes an answer that nobody gets.
type unheard struct{ header http.Header }

func (u unheard) Header() http.Header       { return u.header }
func (unheard) WriteHeader(int)             {}
func (unheard) Write(p []byte) (int, error) { return len(p), nil }

// afterwards lets the API act, and then something else answer.
func afterwards(then http.HandlerFunc) Action {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(unheard{http.Header{}}, r)
			then(w, r)
		})
	}
}

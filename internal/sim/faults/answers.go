// Package faults has the faults of the simulated API that only tests put in: what
// proxies, networks and streams do wrong. Those that a script can name are package
// sim's own.
package faults

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"time"

	"toolhand/internal/sim"
)

// Redirect answers with a redirect to another URL.
func Redirect(status int, url string) sim.Action {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", url)
			w.WriteHeader(status)
		})
	}
}

// Delay waits before anything is done, headers included, then answers as usual.
func Delay(d time.Duration) sim.Action {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if sleep(r, d) {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// DelayAnswer does what was asked at once, and waits before the answer.
func DelayAnswer(d time.Duration) sim.Action {
	return afterwards(func(w http.ResponseWriter, r *http.Request, answer *httptest.ResponseRecorder) {
		if sleep(r, d) {
			head(w, answer)
			_, _ = w.Write(answer.Body.Bytes()) // the client may have left
		}
	})
}

// RespondAfter does what was asked, then answers with something else: a 500, or
// a 200 that can't be decoded.
func RespondAfter(status int, contentType, body string) sim.Action {
	return afterwards(func(w http.ResponseWriter, r *http.Request, _ *httptest.ResponseRecorder) {
		sim.Respond(status, contentType, body)(nil).ServeHTTP(w, r)
	})
}

// Trickle answers as usual, the body in pieces of n bytes with a wait of d
// between them: a timeout that every byte resets never ends it.
func Trickle(n int, d time.Duration) sim.Action {
	return afterwards(func(w http.ResponseWriter, r *http.Request, answer *httptest.ResponseRecorder) {
		head(w, answer)
		for piece := range slices.Chunk(answer.Body.Bytes(), n) {
			if _, err := w.Write(piece); err != nil || http.NewResponseController(w).Flush() != nil || !sleep(r, d) {
				return
			}
		}
	})
}

// Truncate answers as usual, but breaks the connection off after n bytes of the
// body.
func Truncate(n int) sim.Action {
	return afterwards(func(w http.ResponseWriter, r *http.Request, answer *httptest.ResponseRecorder) {
		head(w, answer)
		if b := answer.Body.Bytes(); len(b) > 0 {
			_, _ = w.Write(b[:min(n, len(b))]) // it breaks anyway
		}
		_ = http.NewResponseController(w).Flush()
		sim.ResetBefore()(nil).ServeHTTP(w, r)
	})
}

// LimitAbove chooses lists whose limit is above n, or absent.
func LimitAbove(n int) func(sim.Request) bool {
	return func(q sim.Request) bool {
		limit, err := strconv.Atoi(q.Query.Get("limit"))
		return err != nil || limit > n
	}
}

// Mentions chooses requests whose body holds a text, such as a call's id.
func Mentions(text string) func(sim.Request) bool {
	return func(q sim.Request) bool { return bytes.Contains(q.Body, []byte(text)) }
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

// head writes the head of an answer that was held back.
func head(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
}

// afterwards lets the API act, and gives its answer to then. It is not for
// streams, whose answer never ends.
func afterwards(then func(http.ResponseWriter, *http.Request, *httptest.ResponseRecorder)) sim.Action {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := httptest.NewRecorder()
			next.ServeHTTP(answer, r)
			then(w, r, answer)
		})
	}
}

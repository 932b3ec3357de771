package apispec

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
)

// Reporter is the part of testing.TB that Wrap needs.
type Reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

// Wrap returns a handler that checks all that goes through h: each request,
// each response, and each event of a stream as it is written. What breaks the
// document is reported to tb. skip leaves a request and its response
// unchecked, for deliberate garbage; nil skips nothing.
//
// The handler must have ended before the test does.
func (s *Spec) Wrap(tb Reporter, h http.Handler, skip func(*http.Request) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if skip != nil && skip(r) {
			h.ServeHTTP(w, r)
			return
		}
		tb.Helper()
		var body []byte
		if r.Body != nil {
			var err error
			if body, err = io.ReadAll(r.Body); err != nil {
				return // the client has gone
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		if err := s.Request(r, body); err != nil {
			tb.Errorf("request %s %s breaks the OpenAPI document: %v\n%s", r.Method, r.URL, err, shorten(body))
		}
		c := &checker{ResponseWriter: w, spec: s, tb: tb, method: r.Method, path: r.URL.Path}
		defer c.end()
		h.ServeHTTP(c, r)
	})
}

// checker is a response that is checked while it is written.
type checker struct {
	http.ResponseWriter
	spec         *Spec
	tb           Reporter
	method, path string

	mu     sync.Mutex // a handler may write from another goroutine
	status int
	stream bool
	body   []byte // of a stream: what is not complete yet
}

// Unwrap serves http.ResponseController.
func (c *checker) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *checker) WriteHeader(status int) {
	c.mu.Lock()
	if c.status == 0 {
		c.status = status
		c.stream = strings.HasPrefix(c.Header().Get("Content-Type"), "text/event-stream")
	}
	c.mu.Unlock()
	c.ResponseWriter.WriteHeader(status)
}

func (c *checker) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.WriteHeader(http.StatusOK)
	}
	c.mu.Lock()
	c.body = append(c.body, p...)
	for c.stream {
		end := bytes.Index(c.body, []byte("\n\n"))
		if end < 0 {
			break
		}
		c.event(c.body[:end])
		c.body = c.body[end+2:]
	}
	c.mu.Unlock()
	return c.ResponseWriter.Write(p)
}

// event checks one frame of a stream.
func (c *checker) event(frame []byte) {
	var name string
	var data []byte
	for line := range strings.SplitSeq(string(frame), "\n") {
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			name = value
		case "data":
			data = append(append(data, value...), '\n')
		}
	}
	if name == "ping" || name == "" && data == nil {
		return
	}
	if err := c.spec.StreamEvent(data); err != nil {
		c.tb.Errorf("event %s of %s breaks the OpenAPI document: %v\n%s", name, c.path, err, shorten(data))
	}
}

// end checks a response that is no stream.
func (c *checker) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream || c.status == 0 {
		return
	}
	if err := c.spec.Response(c.method, c.path, c.status, c.body); err != nil {
		c.tb.Errorf("response %d of %s %s breaks the OpenAPI document: %v\n%s",
			c.status, c.method, c.path, err, shorten(c.body))
	}
}

func shorten(b []byte) []byte {
	if len(b) > 2000 {
		return append(b[:2000:2000], "…"...)
	}
	return b
}

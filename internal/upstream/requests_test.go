package upstream

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// A list asks for what the query says, and for nothing that it does not.
func TestListAsksForWhatTheQuerySays(t *testing.T) {
	var asked url.Values
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query()
		answerJSON(`{"data":[],"next_page":"page_2"}`)(w, r)
	})
	c := s.client(t, nil)
	for _, q := range []struct {
		query Query
		want  string
	}{
		{Query{}, "beta=true&order=desc"},
		{Query{Oldest: true, Limit: 1}, "beta=true&limit=1&order=asc"},
		{Query{Limit: 100, Page: "page_1", Types: []string{"a", "b"}}, "beta=true&limit=100&order=desc&page=page_1&types%5B%5D=a&types%5B%5D=b"},
	} {
		p, err := c.List(t.Context(), "sesn_1", q.query, true)
		if err != nil || p.Next != "page_2" {
			t.Errorf("%+v, %v", p, err)
		}
		if got := asked.Encode(); got != q.want {
			t.Errorf("asked for %s, want %s", got, q.want)
		}
	}
	if _, err := c.Get(t.Context(), "sesn_1", true); err != nil {
		t.Error(err)
	}
	if got := c.Counts(); got != (Counts{Lists: 3, Gets: 1}) {
		t.Errorf("counted %+v", got)
	}
}

// A wait that the API asks for and that is longer than an attempt may take is not
// slept off inside the request: the caller is told it.
func TestLongWaitIsTheCallers(t *testing.T) {
	for after, want := range map[string]struct {
		requests int
		wait     time.Duration
	}{"0.001": {3, time.Millisecond}, "60": {1, time.Minute}} {
		asked := 0
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
			asked++
			w.Header().Set("Retry-After", after)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, `{"type":"error","error":{"type":"api_error","message":"later"}}`)
		})
		_, err := s.client(t, nil).Get(t.Context(), "sesn_1", true)
		if RetryAfter(err) != want.wait || asked != want.requests {
			t.Errorf("%s: %d requests, then a wait of %s: %v", after, asked, RetryAfter(err), err)
		}
	}
}

// An answer may be as long as the bound, and not a byte longer.
func TestAnswerIsReadUpToItsBound(t *testing.T) {
	body := func(n int) *http.Response {
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"a":"` + strings.Repeat("x", n-8) + `"}`))}
	}
	if got, err := readAll(t.Context(), "get", body(100), 100); err != nil || len(got) != 100 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := readAll(t.Context(), "get", body(101), 100); !errors.Is(err, errTooLarge) || !TooLarge(err) {
		t.Errorf("error %v", err)
	}
	indented := &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("\n\t {}"))}
	if _, err := readAll(t.Context(), "get", indented, 100); err != nil {
		t.Error(err)
	}
}

// A text is cut between characters, and only where it is too long.
func TestShortenedTexts(t *testing.T) {
	for _, c := range []struct {
		text, want string
		n          int
	}{{"abc", "abc", 3}, {"abcd", "abc…", 3}, {"aé", "aé", 3}, {"aéx", "aé…", 3}, {"aéx", "a…", 2}, {"é", "…", 1}} {
		if got := shorten(c.text, c.n); got != c.want {
			t.Errorf("%q in %d: %q, want %q", c.text, c.n, got, c.want)
		}
	}
}

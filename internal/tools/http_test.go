package tools_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"toolhand/internal/tools"
)

// httpTool makes a handler for url, and closes it when the test ends.
func httpTool(t *testing.T, cfg tools.HTTPConfig) tools.Handler {
	t.Helper()
	h := newHTTP(t, cfg, tools.Common{Name: "tool", MaxResultBytes: 1000})
	t.Cleanup(func() { h.(io.Closer).Close() })
	return h
}

func serveHTTP(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return server.URL
}

func TestHTTPStatus(t *testing.T) {
	for _, c := range []struct {
		status  int
		body    string
		want    string
		isError bool
	}{
		{200, "fine", "fine", false},
		{200, "", "(no output)", false},
		{201, "made", "made", false},
		{204, "", "(no output)", false},
		{400, "bad input", "HTTP 400 Bad Request\nbad input", true},
		{404, "", "HTTP 404 Not Found\n", true},
		{500, `{"content":[]}`, "HTTP 500 Internal Server Error\n{\"content\":[]}", true},
		{599, "x", "HTTP 599 \nx", true},
		{302, "there", "HTTP 302 Found (redirects are not followed)\nthere", true},
		{307, "there", "HTTP 307 Temporary Redirect (redirects are not followed)\nthere", true},
	} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			var requests atomic.Int32
			url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				if c.status/100 == 3 {
					w.Header().Set("Location", "http://[broken/?token=t1")
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			text, isError := run(t, httpTool(t, tools.HTTPConfig{URL: url}), `{}`)
			if text != c.want || isError != c.isError {
				t.Errorf("got %q, error %t", text, isError)
			}
			if n := requests.Load(); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestHTTPErrorIsBounded(t *testing.T) {
	url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(502)
		_, _ = io.WriteString(w, strings.Repeat("x", 1<<20)+"end")
	})
	text, isError := run(t, httpTool(t, tools.HTTPConfig{URL: url}), `{}`)
	if !isError || len(text) > 1000 || !strings.HasPrefix(text, "HTTP 502 Bad Gateway\nxxx") || !strings.HasSuffix(text, "xend") {
		t.Errorf("%d bytes: %q", len(text), text)
	}
}

func TestHTTPRequest(t *testing.T) {
	seen := make(chan *http.Request, 1)
	url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) { seen <- r })
	cfg := tools.HTTPConfig{
		URL:       strings.Replace(url, "http://", "http://me:secret@", 1) + "/run?token=t1#part",
		Headers:   map[string]string{"X-Team": "ci", "host": "tools.internal"},
		HeaderEnv: map[string]string{"X-Token": "TOKEN"},
	}
	common := tools.Common{Name: "tool", LookupEnv: func(name string) (string, bool) { return "from " + name, true }}
	h := newHTTP(t, cfg, common)
	defer h.(io.Closer).Close()
	call := newCall(`{"n":9007199254740993}`)
	call.Deadline = time.Date(2030, 1, 2, 3, 4, 5, 120, time.UTC)
	if _, err := h.Call(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	r := <-seen
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Tool-Name": "shell", "Tool-Use-Id": "sevt_1", "Session-Id": "sesn_1", "Session-Thread-Id": "",
		"Tool-Deadline": "2030-01-02T03:04:05.00000012Z", "Idempotency-Key": "sevt_1", "X-Team": "ci", "X-Token": "from TOKEN",
		"Authorization": "Basic bWU6c2VjcmV0", "Content-Length": "22",
	} {
		if got := r.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, expected %q", name, got, want)
		}
	}
	if r.Method != "POST" || r.URL.String() != "/run?token=t1" || r.Host != "tools.internal" {
		t.Errorf("got %s %s of %s", r.Method, r.URL, r.Host)
	}
}

func TestHTTPGzip(t *testing.T) {
	url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, "plain text")
		z.Close()
	})
	if text, isError := run(t, httpTool(t, tools.HTTPConfig{URL: url}), `{}`); text != "plain text" || isError {
		t.Errorf("got %q, error %t", text, isError)
	}
}

// rawServer answers the n-th request of all connections by f, which gets the
// connection after the request is read whole. It counts what it has read.
func rawServer(t *testing.T, f func(n int32, c net.Conn)) (url string, requests *atomic.Int32) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests = new(atomic.Int32)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for in := bufio.NewReader(c); ; {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					f(requests.Add(1), c)
				}
			}()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-ended })
	return "http://" + listener.Addr().String(), requests
}

// TestHTTPNeverTwice breaks a reused connection after the request is read: Go's
// client would send it again, were it able to. The Idempotency-Key invites it.
func TestHTTPNeverTwice(t *testing.T) {
	for _, how := range []string{"end of file", "reset", "half an answer"} {
		t.Run(how, func(t *testing.T) {
			url, requests := rawServer(t, func(n int32, c net.Conn) {
				if n == 1 {
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
					return
				}
				switch how {
				case "reset":
					_ = c.(*net.TCPConn).SetLinger(0)
				case "half an answer":
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
				}
				c.Close()
			})
			h := httpTool(t, tools.HTTPConfig{URL: url})
			if text, _ := run(t, h, `{}`); text != "ok" {
				t.Fatalf("got %q", text)
			}
			_, err := h.Call(t.Context(), newCall(`{"a":1}`))
			if l := (*tools.LostError)(nil); !errors.As(err, &l) {
				t.Errorf("got %v (%T), expected a LostError", err, err)
			}
			if n := requests.Load(); n != 2 {
				t.Errorf("%d requests, expected one a call", n)
			}
		})
	}
}

// TestHTTPErrors tells apart what surely did not run, and looks for the URL's
// secrets in what is said of it.
func TestHTTPErrors(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + listener.Addr().String()
	listener.Close()
	untrusted := httptest.NewUnstartedServer(nil)
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	defer untrusted.Close()
	reset, _ := rawServer(t, func(_ int32, c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); c.Close() })
	garbage, _ := rawServer(t, func(_ int32, c net.Conn) { _, _ = io.WriteString(c, "what?\r\n\r\n"); c.Close() })
	for _, c := range []struct {
		name, url string
		lost      bool
	}{
		{"refused", closed, false},
		{"no such host", "http://no-such-host.invalid", false},
		{"untrusted certificate", untrusted.URL, false},
		{"TLS to a plain server", strings.Replace(reset, "http:", "https:", 1), false},
		{"reset", reset, true},
		{"no HTTP", garbage, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := strings.Replace(c.url, "://", "://uzer:pazz@", 1) + "/path?token=qwery"
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_, err := httpTool(t, tools.HTTPConfig{URL: url}).Call(ctx, newCall(`{}`))
			var u *tools.UnavailableError
			var l *tools.LostError
			if errors.As(err, &l) != c.lost || errors.As(err, &u) == c.lost {
				t.Errorf("got %v (%T), lost expected: %t", err, err, c.lost)
			}
			noneOf(t, fmt.Sprint(err), "uzer", "pazz", "qwery")
		})
	}
}

func TestHTTPIsCheckedWhenMade(t *testing.T) {
	const url = "http://host/"
	lookup := func(name string) (string, bool) { return "a\nb", name == "TWO_LINES" }
	for _, c := range []struct {
		name string
		cfg  tools.HTTPConfig
		want string
	}{
		{"no url", tools.HTTPConfig{}, "url: expected"},
		{"no host", tools.HTTPConfig{URL: "http:///x"}, "url: expected"},
		{"another scheme", tools.HTTPConfig{URL: "ftp://uzer:pazz@host/"}, "url: expected"},
		{"broken url", tools.HTTPConfig{URL: "http://uzer:pazz@host:port/?qwery"}, "url: expected"},
		{"tool header", tools.HTTPConfig{URL: url, Headers: map[string]string{"tool-use-id": "x"}}, "set by the worker"},
		{"session header", tools.HTTPConfig{URL: url, HeaderEnv: map[string]string{"Session-Id": "TWO_LINES"}}, "set by the worker"},
		{"idempotency key", tools.HTTPConfig{URL: url, Headers: map[string]string{"Idempotency-Key": "x"}}, "set by the worker"},
		{"no header name", tools.HTTPConfig{URL: url, Headers: map[string]string{"a b": "x"}}, "not the name of a header"},
		{"two lines", tools.HTTPConfig{URL: url, HeaderEnv: map[string]string{"X": "TWO_LINES"}}, "control character"},
		{"not set", tools.HTTPConfig{URL: url, HeaderEnv: map[string]string{"X": "NOT_SET"}}, "NOT_SET for the header X is not set"},
		{"variable of ours", tools.HTTPConfig{URL: url, HeaderEnv: map[string]string{"X": "ANTHROPIC_API_KEY"}}, "ANTHROPIC_"},
		{"header of ours", tools.HTTPConfig{URL: url, HeaderEnv: map[string]string{"Anthropic-Key": "TWO_LINES"}}, "ANTHROPIC_"},
		{"twice", tools.HTTPConfig{URL: url, Headers: map[string]string{"X-A": "1", "x-a": "2"}}, "given twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := tools.NewHTTP(c.cfg, tools.Common{Name: "x", LookupEnv: lookup})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, expected %q", err, c.want)
			}
			noneOf(t, fmt.Sprint(err), "uzer", "pazz", "qwery", "a\nb")
		})
	}
}

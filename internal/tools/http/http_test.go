package http_test

import (
	"bufio"
	"bytes"
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
	"toolhand/internal/tools/handlertest"
	toolhttp "toolhand/internal/tools/http"
)

// httpTool makes a handler for url, and closes it when the test ends.
func httpTool(t *testing.T, cfg toolhttp.Config) tools.Handler {
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
			text, isError := handlertest.Call(t, httpTool(t, toolhttp.Config{URL: url}), `{}`)
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
	text, isError := handlertest.Call(t, httpTool(t, toolhttp.Config{URL: url}), `{}`)
	if !isError || len(text) > 1000 || !strings.HasPrefix(text, "HTTP 502 Bad Gateway\nxxx") || !strings.HasSuffix(text, "xend") {
		t.Errorf("%d bytes: %q", len(text), text)
	}
}

func TestHTTPRequest(t *testing.T) {
	seen := make(chan *http.Request, 1)
	url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) { seen <- r })
	cfg := toolhttp.Config{
		URL:       strings.Replace(url, "http://", "http://me:secret@", 1) + "/run?token=t1#part",
		Headers:   map[string]string{"X-Team": "ci", "host": "tools.internal"},
		HeaderEnv: map[string]string{"X-Token": "TOKEN"},
	}
	common := tools.Common{Name: "tool", LookupEnv: func(name string) (string, bool) { return "from " + name, true }}
	h := newHTTP(t, cfg, common)
	defer h.(io.Closer).Close()
	call := handlertest.NewCall(`{"n":9007199254740993}`)
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
	if text, isError := handlertest.Call(t, httpTool(t, toolhttp.Config{URL: url}), `{}`); text != "plain text" || isError {
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
			h := httpTool(t, toolhttp.Config{URL: url})
			if text, _ := handlertest.Call(t, h, `{}`); text != "ok" {
				t.Fatalf("got %q", text)
			}
			_, err := h.Call(t.Context(), handlertest.NewCall(`{"a":1}`))
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
			_, err := httpTool(t, toolhttp.Config{URL: url}).Call(ctx, handlertest.NewCall(`{}`))
			var u *tools.UnavailableError
			var l *tools.LostError
			if errors.As(err, &l) != c.lost || errors.As(err, &u) == c.lost {
				t.Errorf("got %v (%T), lost expected: %t", err, err, c.lost)
			}
			handlertest.NoneOf(t, fmt.Sprint(err), "uzer", "pazz", "qwery")
		})
	}
}

func TestHTTPIsCheckedWhenMade(t *testing.T) {
	const url = "http://host/"
	lookup := func(name string) (string, bool) { return "a\nb", name == "TWO_LINES" }
	for _, c := range []struct {
		name string
		cfg  toolhttp.Config
		want string
	}{
		{"no url", toolhttp.Config{}, "url: expected"},
		{"no host", toolhttp.Config{URL: "http:///x"}, "url: expected"},
		{"another scheme", toolhttp.Config{URL: "ftp://uzer:pazz@host/"}, "url: expected"},
		{"broken url", toolhttp.Config{URL: "http://uzer:pazz@host:port/?qwery"}, "url: expected"},
		{"tool header", toolhttp.Config{URL: url, Headers: map[string]string{"tool-use-id": "x"}}, "set by the worker"},
		{"session header", toolhttp.Config{URL: url, HeaderEnv: map[string]string{"Session-Id": "TWO_LINES"}}, "set by the worker"},
		{"idempotency key", toolhttp.Config{URL: url, Headers: map[string]string{"Idempotency-Key": "x"}}, "set by the worker"},
		{"no header name", toolhttp.Config{URL: url, Headers: map[string]string{"a b": "x"}}, "not the name of a header"},
		{"two lines", toolhttp.Config{URL: url, HeaderEnv: map[string]string{"X": "TWO_LINES"}}, "control character"},
		{"not set", toolhttp.Config{URL: url, HeaderEnv: map[string]string{"X": "NOT_SET"}}, "NOT_SET for the header X is not set"},
		{"variable of ours", toolhttp.Config{URL: url, HeaderEnv: map[string]string{"X": "ANTHROPIC_API_KEY"}}, "ANTHROPIC_"},
		{"header of ours", toolhttp.Config{URL: url, HeaderEnv: map[string]string{"Anthropic-Key": "TWO_LINES"}}, "ANTHROPIC_"},
		{"twice", toolhttp.Config{URL: url, Headers: map[string]string{"X-A": "1", "x-a": "2"}}, "given twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := toolhttp.New(c.cfg, tools.Common{Name: "x", LookupEnv: lookup})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, expected %q", err, c.want)
			}
			handlertest.NoneOf(t, fmt.Sprint(err), "uzer", "pazz", "qwery", "a\nb")
		})
	}
}

func TestHTTPConforms(t *testing.T) {
	handlertest.Run(t, tools.Common{Name: "http_tool"}, handlertest.Peer{
		New: func(t *testing.T, common tools.Common, b handlertest.Behaviour) tools.Handler {
			server := httptest.NewServer(peer(b))
			t.Cleanup(server.Close)
			return newHTTP(t, toolhttp.Config{URL: server.URL}, common)
		},
		Unreachable: func(t *testing.T, common tools.Common) tools.Handler {
			server := httptest.NewServer(nil)
			server.Close()
			return newHTTP(t, toolhttp.Config{URL: server.URL}, common)
		},
		Loses: true,
	})
}

func newHTTP(t *testing.T, cfg toolhttp.Config, common tools.Common) tools.Handler {
	t.Helper()
	h, err := toolhttp.New(cfg, common)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// peer is the other end of http handlers.
func peer(b handlertest.Behaviour) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		about := handlertest.About{
			Tool:     r.Header.Get("Tool-Name"),
			ID:       r.Header.Get("Tool-Use-Id"),
			Session:  r.Header.Get("Session-Id"),
			Thread:   r.Header.Get("Session-Thread-Id"),
			Deadline: r.Header.Get("Tool-Deadline"),
		}
		switch b {
		case handlertest.Lose:
			panic(http.ErrAbortHandler)
		case handlertest.Fail:
			var text bytes.Buffer
			err := handlertest.Serve(r.Context(), b, about, r.Body, &text, 0)
			if errors.Is(err, handlertest.ErrFailed) {
				http.Error(w, text.String(), http.StatusInternalServerError)
			}
		case handlertest.Silent, handlertest.Trickle:
			// The server notices that the client is gone once the body is read.
			_, _ = new(bytes.Buffer).ReadFrom(r.Body)
			fallthrough
		default:
			if err := handlertest.Serve(r.Context(), b, about, r.Body, w, 0); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
	})
}

func TestHTTPLive(t *testing.T) {
	asked := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the tool was run") })
	server := httptest.NewServer(asked)
	h := newHTTP(t, toolhttp.Config{URL: server.URL + "/run"}, tools.Common{Name: "x"})
	if err := handlertest.Live(t, h); err != nil {
		t.Errorf("it is there: %v", err)
	}
	server.Close()
	if err := handlertest.Live(t, h); err == nil {
		t.Error("it is gone")
	}
	secure := httptest.NewTLSServer(asked)
	defer secure.Close()
	h = newHTTP(t, toolhttp.Config{URL: secure.URL}, tools.Common{Name: "x"})
	if err := handlertest.Live(t, h); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody trusts: %v", err)
	}
}

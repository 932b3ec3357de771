package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"toolhand/internal/apispec"
)

// server is an API whose handler is the test's; it keeps the headers it was sent.
type server struct {
	*httptest.Server
	mu      sync.Mutex
	headers []http.Header // guarded by mu
}

func newServer(t *testing.T, h http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.headers = append(s.headers, r.Header.Clone())
		s.mu.Unlock()
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) client(t *testing.T, change func(*Options)) *Client {
	t.Helper()
	o := Options{BaseURL: s.URL, Credential: Credential{APIKey: "sk-option"}}
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func answerJSON(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, body)
	}
}

// Never two credentials on the wire, whatever stands in the environment.
func TestOneCredentialOnTheWire(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		cred Credential
		want string
	}{
		"a key, a token in the environment": {map[string]string{"ANTHROPIC_AUTH_TOKEN": "env-token"}, Credential{APIKey: "sk-option"}, "Bearer sk-option"},
		"a token, a key in the environment": {map[string]string{"ANTHROPIC_API_KEY": "env-key"}, Credential{AuthToken: "option"}, "Bearer option"},
		"a key, both in the environment":    {map[string]string{"ANTHROPIC_API_KEY": "env-key", "ANTHROPIC_AUTH_TOKEN": "t"}, Credential{APIKey: "sk-option"}, "Bearer sk-option"},
		"a key in the environment":          {map[string]string{"ANTHROPIC_API_KEY": "env-key"}, Credential{}, "Bearer env-key"},
		"a token in the environment":        {map[string]string{"ANTHROPIC_AUTH_TOKEN": "env-token"}, Credential{}, "Bearer env-token"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, v := range []string{"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"} {
				t.Setenv(v, c.env[v])
			}
			t.Setenv("ANTHROPIC_CUSTOM_HEADERS", "")
			s := newServer(t, answerJSON(`{"data":[]}`))
			client := s.client(t, func(o *Options) { o.Credential = c.cred })
			if _, err := client.List(t.Context(), "sesn_1", Query{}, true); err != nil {
				t.Fatal(err)
			}
			if err := client.Send(t.Context(), "sesn_1", nil); err != nil {
				t.Fatal(err)
			}
			for _, h := range s.headers {
				auth, key := h.Values("Authorization"), h.Values("X-Api-Key")
				if len(key) > 0 || len(auth) != 1 || auth[0] != c.want || !strings.Contains(h.Get("Anthropic-Beta"), Beta) {
					t.Errorf("sent key %q, authorization %q, beta %q, want one authorization %q", key, auth, h.Get("Anthropic-Beta"), c.want)
				}
			}
		})
	}
}

func TestRenewedCredentialReplacesTheOld(t *testing.T) {
	s := newServer(t, answerJSON(`{"data":[]}`))
	c := s.client(t, nil)
	c.Renew(Credential{AuthToken: "new"})
	if _, err := c.List(t.Context(), "sesn_1", Query{}, true); err != nil {
		t.Fatal(err)
	}
	if h := s.headers[0]; h.Get("X-Api-Key") != "" || h.Get("Authorization") != "Bearer new" {
		t.Errorf("sent key %q, authorization %q", h.Get("X-Api-Key"), h.Get("Authorization"))
	}
}

func TestCredentialIsNeverPrinted(t *testing.T) {
	c := Credential{APIKey: "sk-secret", AuthToken: "tk-secret"}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "credential", c, "options", Options{Credential: c}.Credential)
	text := fmt.Sprintf("%v %+v %#v %s %q", c, c, c, c, c) + fmt.Sprintf("%+v %#v", Options{Credential: c}, &c) + log.String()
	if strings.Contains(text, "secret") {
		t.Errorf("printed: %s", text)
	}
}

// No error text holds the credential, the URL's query or a whole body.
func TestErrorsHoldNoCredential(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"type":"error","error":{"type":"invalid_request_error","message":%q}}`, strings.Repeat("long ", 1000))
	})
	c := s.client(t, nil)
	_, err := c.List(t.Context(), "sesn_1", Query{}, true)
	if err == nil || len(err.Error()) > 500 || strings.Contains(err.Error(), "sk-option") || KindOf(err) != KindRefused {
		t.Errorf("error %v", err)
	}
	s.Close()
	// Without a connection nothing was sent, and so nothing was accepted.
	err = s.client(t, nil).Send(t.Context(), "sesn_1", nil)
	if err == nil || strings.Contains(err.Error(), "sk-option") || strings.Contains(err.Error(), "beta=") || KindOf(err) != KindRetry {
		t.Errorf("error %v, kind %s", err, KindOf(err))
	}
}

func TestBaseURLIsChecked(t *testing.T) {
	for _, u := range []string{"api.anthropic.com", "ftp://x", "http://", "://", "http://[::1"} {
		if _, err := New(Options{BaseURL: u}); err == nil || !strings.Contains(err.Error(), "upstream.base_url") {
			t.Errorf("%q: %v", u, err)
		}
	}
}

// A base URL with a path keeps it.
func TestBaseURLKeepsItsPath(t *testing.T) {
	var path string
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.Path
		answerJSON(`{"data":[]}`)(w, r)
	})
	for _, end := range []string{"/proxy/anthropic", "/proxy/anthropic/"} {
		c := s.client(t, func(o *Options) { o.BaseURL += end })
		if _, err := c.List(t.Context(), "sesn/1", Query{}, true); err != nil {
			t.Fatal(err)
		}
		if path != "/proxy/anthropic/v1/sessions/sesn/1/events" {
			t.Errorf("path %s", path)
		}
	}
}

// Send makes one attempt, whatever comes back; a list is retried by the SDK.
func TestSendIsOneAttempt(t *testing.T) {
	for _, status := range []int{408, 409, 429, 500, 503, 529} {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("retry-after-ms", "1")
			w.WriteHeader(status)
		})
		c := s.client(t, nil)
		if err := c.Send(t.Context(), "sesn_1", nil); err == nil {
			t.Errorf("%d is no error", status)
		}
		if n := len(s.headers); n != 1 || c.Counts().Sends != 1 {
			t.Errorf("%d: %d requests, counted %d", status, n, c.Counts().Sends)
		}
	}
}

func TestBodyThatCannotBeDecoded(t *testing.T) {
	for _, body := range []string{"", "<h1>hello</h1>", `[1]`, `"x"`, `{"data":[`, `{"data":{}}`, "{}", `{"status":"blocked"}`, "\x00"} {
		s := newServer(t, answerJSON(body))
		c := s.client(t, nil)
		if _, err := c.List(t.Context(), "sesn_1", Query{}, true); err == nil || KindOf(err) != KindUnknown {
			t.Errorf("list %q: %v, %s", body, err, KindOf(err))
		}
		if err := c.Send(t.Context(), "sesn_1", nil); err == nil || KindOf(err) != KindUnknown {
			t.Errorf("send %q: %v, %s", body, err, KindOf(err))
		}
	}
}

// The clock of a request is wall clock, its body included: a byte now and then
// extends nothing.
func TestTricklingBodyIsCutAtTheWallClock(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		for r.Context().Err() == nil {
			io.WriteString(w, " ")
			_ = http.NewResponseController(w).Flush() // the client leaves
			time.Sleep(5 * time.Millisecond)
		}
	})
	c := s.client(t, func(o *Options) { o.RequestTimeout, o.SendTimeout = 100*time.Millisecond, 100*time.Millisecond })
	for name, do := range map[string]func() error{
		"list": func() error { _, err := c.List(t.Context(), "sesn_1", Query{}, true); return err },
		"get":  func() error { _, err := c.Get(t.Context(), "sesn_1", true); return err },
		"send": func() error { return c.Send(t.Context(), "sesn_1", nil) },
	} {
		begun := time.Now()
		err := do()
		if !Timeout(err) || KindOf(err) != KindUnknown || time.Since(begun) > 5*time.Second || !strings.Contains(err.Error(), "100ms") {
			t.Errorf("%s: %v after %s", name, err, time.Since(begun))
		}
	}
}

// A caller that leaves gets its own cause.
func TestCauseOfTheCaller(t *testing.T) {
	s := newServer(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not see the client leave
		<-r.Context().Done()
	})
	c := s.client(t, nil)
	why := errors.New("drained")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
	if err := c.Send(ctx, "sesn_1", nil); !errors.Is(err, why) {
		t.Errorf("send: %v", err)
	}
	if _, err := c.Stream(ctx, "sesn_1", time.Minute, true); !errors.Is(err, why) {
		t.Errorf("stream: %v", err)
	}
}

func TestEncodeMatchesTheDocument(t *testing.T) {
	spec := apispec.Load(t)
	content := json.RawMessage(`[{"type":"text","text":"a \u0000 \"b\" <&> ü 9007199254740993"}]`)
	for name, answers := range map[string][]Answer{
		"one":     {{CallID: "sevt_1", Content: content}},
		"many":    {{CallID: "sevt_1", Content: content}, {CallID: "sevt_2", Content: content, IsError: true}},
		"odd ids": {{CallID: "sevt_\"\\\n\u2028ü", Content: content}},
	} {
		body := encode(answers)
		r := httptest.NewRequest(http.MethodPost, "/v1/sessions/sesn_1/events?beta=true", bytes.NewReader(body))
		r.Header.Set("Anthropic-Version", "2023-06-01")
		r.Header.Set("Anthropic-Beta", Beta)
		r.Header.Set("Authorization", "Bearer x")
		r.Header.Set("Content-Type", "application/json")
		if err := spec.Request(r, body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got struct {
			Events []struct {
				ID      string          `json:"custom_tool_use_id"`
				Content json.RawMessage `json:"content"`
				IsError bool            `json:"is_error"`
			} `json:"events"`
		}
		if err := json.Unmarshal(body, &got); err != nil || len(got.Events) != len(answers) {
			t.Fatalf("%s: %v in %s", name, err, body)
		}
		for i, a := range answers {
			if g := got.Events[i]; g.ID != a.CallID || string(g.Content) != string(a.Content) || g.IsError != a.IsError {
				t.Errorf("%s: %+v became %+v", name, a, g)
			}
		}
	}
}

func TestStreamEndsWhenItIsSilent(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: {\"type\":\"agent.message\"}\n\n")
		_ = http.NewResponseController(w).Flush() // the client leaves
		<-r.Context().Done()
	})
	st, err := s.client(t, nil).Stream(t.Context(), "sesn_1", 100*time.Millisecond, true)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if e, err := st.Next(); err != nil || e.Type != TypeMessage {
		t.Fatalf("%+v, %v", e, err)
	}
	if _, err := st.Next(); !errors.Is(err, ErrSilent) {
		t.Errorf("error %v", err)
	}
}

// An answer that does not carry the API's own error says nothing about what was
// asked; its form is {"type":"error","error":{"type":…}}.
func TestOnlyTheAPIsOwnErrorCounts(t *testing.T) {
	own := `{"type":"error","error":{"type":"invalid_request_error","message":"no"}}`
	for _, c := range []struct {
		status     int
		body       string
		send, read Kind
	}{
		{400, own, KindRefused, KindRefused},
		{403, `{"type":"error","error":{"type":"permission_error","message":"no"}}`, KindForbidden, KindForbidden},
		{400, `{"type":"error","error":{"type":"invalid_request_error","message":"no","details":{"error_code":"request_body_timeout"}}}`, KindUnknown, KindUnknown},
		{400, `{"type":"error","error":{"type":"invalid_request_error","message":"no","details":{"error_code":"never_heard_of"}}}`, KindRefused, KindRefused},
		{400, `{"type":"error","error":{"type":"invalid_request_error","message":"no","details":7}}`, KindRefused, KindRefused},
		{400, "<html>", KindUnknown, KindUnknown},
		{403, "<html>", KindUnknown, KindUnknown},
		{403, `{"error":{"type":"permission_error","message":"blocked"}}`, KindUnknown, KindUnknown},
		{403, `{"error":"blocked"}`, KindUnknown, KindUnknown},
		{400, `{"type":"error"}`, KindUnknown, KindUnknown},
		{405, "", KindUnknown, KindUnknown},
		{404, "<html>", KindUnknown, KindUnknown},
		{413, "<html>", KindUnknown, KindUnknown},
		{501, "<html>", KindUnknown, KindUnknown},
	} {
		s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		})
		client := s.client(t, nil)
		if err := client.Send(t.Context(), "sesn_1", nil); KindOf(err) != c.send {
			t.Errorf("send: %d %s: %v is %s, want %s", c.status, c.body, err, KindOf(err), c.send)
		}
		if _, err := client.Get(t.Context(), "sesn_1", true); KindOf(err) != c.read {
			t.Errorf("get: %d %s: %v is %s, want %s", c.status, c.body, err, KindOf(err), c.read)
		}
	}
}

// The code of an error is told beside its type.
func TestCodeOfAnErrorIsTold(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"type":"error","error":{"type":"permission_error","message":"no key","details":{"error_code":"cmek_key_disabled"}}}`)
	})
	_, err := s.client(t, nil).Get(t.Context(), "sesn_1", true)
	if want := "403 permission_error (cmek_key_disabled): no key"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q in it", err, want)
	}
}

// A redirect is not followed by any request: that would carry the credential, and
// the results, to another host.
func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		elsewhere := newServer(t, answerJSON(`{"data":[],"status":"idle"}`))
		s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, status)
		})
		c := s.client(t, nil)
		for name, do := range map[string]func() error{
			"send": func() error {
				return c.Send(t.Context(), "sesn_1", []Answer{{CallID: "sevt_1", Content: []byte("[]")}})
			},
			"list":   func() error { _, err := c.List(t.Context(), "sesn_1", Query{}, true); return err },
			"get":    func() error { _, err := c.Get(t.Context(), "sesn_1", true); return err },
			"stream": func() error { _, err := c.Stream(t.Context(), "sesn_1", time.Minute, true); return err },
		} {
			if err := do(); err == nil || KindOf(err) != KindUnknown || !strings.Contains(err.Error(), "redirects are not followed") {
				t.Errorf("%s, %d: %v, %s", name, status, err, KindOf(err))
			}
		}
		if n := len(elsewhere.headers); n != 0 {
			t.Errorf("%d: %d requests reached the other host", status, n)
		}
	}
}

// A page that is no answer of the API's, under 200, does not open a closed gate.
func TestProxysPageLeavesTheGateClosed(t *testing.T) {
	var answer http.HandlerFunc
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) { answer(w, r) })
	c := s.client(t, nil)
	ask := func(with http.HandlerFunc) (closed bool) {
		answer = with
		c.gate.mu.Lock()
		c.gate.probe = time.Time{} // it is time for the next one
		c.gate.mu.Unlock()
		_, _ = c.Get(t.Context(), "sesn_1", true) // the gate tells
		return !c.RefusedSince().IsZero()
	}
	if !ask(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"type":"error","error":{"type":"authentication_error","message":"no"}}`)
	}) {
		t.Fatal("a refused credential does not close it")
	}
	if !ask(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<html>")
	}) {
		t.Error("a page opens it")
	}
	if ask(answerJSON(`{"status":"idle"}`)) {
		t.Error("an answer of the API does not open it")
	}
}

// What the options name goes with each request.
func TestWorkspaceAndAgentAreNamed(t *testing.T) {
	s := newServer(t, answerJSON(`{"status":"idle"}`))
	for _, named := range []bool{false, true} {
		c := s.client(t, func(o *Options) {
			if named {
				o.WorkspaceID, o.UserAgent = "wrkspc_1", "toolhand/test"
			}
		})
		if _, err := c.Get(t.Context(), "sesn_1", true); err != nil {
			t.Fatal(err)
		}
		h := s.headers[len(s.headers)-1]
		if got := h.Get("Anthropic-Workspace-Id") == "wrkspc_1" && h.Get("User-Agent") == "toolhand/test"; got != named {
			t.Errorf("named: %t, headers %v", named, h)
		}
		if h.Get("Accept-Encoding") != "identity" {
			t.Errorf("Accept-Encoding: %s", h.Get("Accept-Encoding"))
		}
	}
}

// Each attempt of a read counts against the budget: the first by its wait, those
// that the SDK makes after it when they are written. A send counts once.
func TestEachAttemptIsCounted(t *testing.T) {
	fails := 2
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && fails > 0 {
			fails--
			w.Header().Set("Retry-After-Ms", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		answerJSON(`{"status":"idle","data":[]}`)(w, r)
	})
	c := s.client(t, func(o *Options) { o.RequestsPerMinute = 60 })
	before := c.budget.balance
	if _, err := c.Get(t.Context(), "sesn_1", true); err != nil {
		t.Fatal(err)
	}
	if spent := before - c.budget.balance; spent < 2.5 || spent > 3 { // some of it has come back
		t.Errorf("three attempts cost %.1f", spent)
	}
	before = c.budget.balance
	if err := c.Send(t.Context(), "sesn_1", nil); err != nil {
		t.Fatal(err)
	}
	if spent := before - c.budget.balance; spent < 0.5 || spent > 1 {
		t.Errorf("a send costs %.1f", spent)
	}
}

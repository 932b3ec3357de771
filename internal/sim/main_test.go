package sim_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"toolhand/internal/apispec"
	"toolhand/internal/sim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bed is a server with a client, all traffic held against the document.
type bed struct {
	t   *testing.T
	srv *sim.Server
	web *httptest.Server
	ctx context.Context
	hc  *http.Client
}

// garbage marks a request whose traffic breaks the document deliberately.
const garbage = "X-Garbage"

func newBed(t *testing.T, opts sim.Options) *bed {
	t.Helper()
	srv := sim.New(opts)
	skip := func(r *http.Request) bool { return r.Header.Get(garbage) != "" }
	web := httptest.NewServer(apispec.Load(t).Wrap(t, srv, skip))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	hc := &http.Client{
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(func() {
		cancel()
		srv.Close()
		hc.CloseIdleConnections()
		web.Close()
	})
	return &bed{t: t, srv: srv, web: web, ctx: ctx, hc: hc}
}

func (b *bed) request(method, path, body string, header ...string) *http.Request {
	b.t.Helper()
	return b.requestTo(b.web.URL, method, path, body, header...)
}

func (b *bed) requestTo(base, method, path, body string, header ...string) *http.Request {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.ctx, method, base+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer key")
	r.Header.Set("Anthropic-Version", "2023-06-01")
	r.Header.Set("Anthropic-Beta", "managed-agents-2026-04-01")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			r.Header.Del(header[i])
		}
	}
	return r
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error // of the transport or of reading the body
}

func (b *bed) do(method, path, body string, header ...string) answer {
	b.t.Helper()
	res, err := b.hc.Do(b.request(method, path, body, header...))
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, data, err}
}

func (a answer) message() string {
	var e struct {
		Error struct{ Type, Message string }
	}
	_ = json.Unmarshal(a.body, &e) // other bodies have no message
	return e.Error.Type + ": " + e.Error.Message
}

// must does a request that has to succeed, and decodes its answer.
func (b *bed) must(method, path, body string, into any) {
	b.t.Helper()
	a := b.do(method, path, body)
	if a.err != nil || a.status != http.StatusOK {
		b.t.Fatalf("%s %s: %d %s %v", method, path, a.status, a.body, a.err)
	}
	if into != nil {
		if err := json.Unmarshal(a.body, into); err != nil {
			b.t.Fatal(err)
		}
	}
}

// result is the body of a send with one text as each call's result.
func result(ids ...string) string {
	var events []string
	for _, id := range ids {
		events = append(events, fmt.Sprintf(
			`{"type":"user.custom_tool_result","custom_tool_use_id":%q,"content":[{"type":"text","text":"done"}],"is_error":false}`, id))
	}
	return `{"events":[` + strings.Join(events, ",") + `]}`
}

func eventsPath(s *sim.Session) string { return "/v1/sessions/" + s.ID() + "/events" }

// stream is an open stream.
type stream struct {
	b    *bed
	res  *http.Response
	read *bufio.Reader
}

// open opens a session's stream and waits until the server has it.
func (b *bed) open(s *sim.Session, header ...string) *stream {
	b.t.Helper()
	before := s.Streams()
	res, err := b.hc.Do(b.request("GET", eventsPath(s)+"/stream", "", header...))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		b.t.Fatalf("stream: %d", res.StatusCode)
	}
	if err := s.WaitStreams(b.ctx, before+1); err != nil {
		b.t.Fatal(err)
	}
	return &stream{b, res, newReader(res.Body)}
}

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

// got is an event that a stream brought.
type got struct {
	Type            string  `json:"type"`
	ID              string  `json:"id"`
	ProcessedAt     *string `json:"processed_at"`
	CustomToolUseID string  `json:"custom_tool_use_id"`
	SessionThreadID string  `json:"session_thread_id"`
	StopReason      struct {
		Type     string   `json:"type"`
		EventIDs []string `json:"event_ids"`
	} `json:"stop_reason"`
	raw string
}

// short is the event in one word or two.
func (g got) short() string {
	switch {
	case len(g.StopReason.EventIDs) > 0:
		return g.Type + "(" + strings.Join(g.StopReason.EventIDs, ",") + ")"
	case g.StopReason.Type != "":
		return g.Type + "(" + g.StopReason.Type + ")"
	case strings.HasPrefix(g.Type, "user.") && g.ProcessedAt == nil:
		return g.Type + "(queued)"
	}
	return g.Type
}

// next reads the next event that is no heartbeat.
func (s *stream) next() got {
	s.b.t.Helper()
	g, err := s.tryNext()
	if err != nil {
		s.b.t.Fatalf("stream: %v", err)
	}
	return g
}

func (s *stream) tryNext() (got, error) {
	var name string
	var data []byte
	for {
		line, err := s.read.ReadString('\n')
		if err != nil {
			return got{}, err
		}
		switch line = strings.TrimRight(line, "\n"); {
		case strings.HasPrefix(line, "event: "):
			name = line[7:]
		case strings.HasPrefix(line, "data: "):
			data = append(data, line[6:]...)
		case line == "" && name != "" && name != "ping":
			g := got{raw: string(data)}
			if err := json.NewDecoder(bytes.NewReader(data)).Decode(&g); err != nil {
				return g, fmt.Errorf("%s: %w", data, err)
			}
			return g, nil
		case line == "":
			name, data = "", nil
		}
	}
}

// expect reads as many events as are named and compares them.
func (s *stream) expect(want ...string) []got {
	s.b.t.Helper()
	var all []got
	for _, w := range want {
		g := s.next()
		all = append(all, g)
		if g.short() != w {
			s.b.t.Fatalf("the stream brought %s, want %s\n%s", g.short(), w, g.raw)
		}
	}
	return all
}

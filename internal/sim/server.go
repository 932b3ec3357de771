package sim

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options say how a server behaves. The zero value is useful.
type Options struct {
	// Key is the only credential that is accepted, as API key or bearer token.
	// Empty accepts any. [Server.SetKey] changes it.
	Key string
	// Heartbeat is the time between two `event: ping` of a stream. Zero means
	// 15 s, a negative one none at all.
	Heartbeat time.Duration
	// MaxBody is the size in bytes of the largest request body. Zero means
	// 32 MiB.
	MaxBody int64
	// FreshIDs has the ids that a script gives to calls and threads end in what is
	// new for each server, as the ids of the server's making do: a client that has
	// met the script before does not take a new call for an old one.
	FreshIDs bool
	// KeepRequests is how many requests are remembered with their bodies. Zero
	// means 100000.
	KeepRequests int
	// OnRequest is told of each request when it has arrived, before anything
	// is done about it. It is called by many goroutines at once.
	OnRequest func(Request)
	// OnEvent is told of each event of each session in the order in which the
	// session's streams show it; a client's event comes twice. It is called
	// with the session locked: it returns soon, and calls nothing of this
	// server.
	OnEvent func(Event)
	// OnAnswer is told of each request when it has been answered, with its
	// status; of a stream when it ends.
	OnAnswer func(Request)
}

// Server is a simulated Managed Agents API: an http.Handler, and the sessions
// behind it. Make it with [New].
type Server struct {
	opts   Options
	mark   string // in the ids of this server, and of no other; immutable
	key    atomic.Pointer[string]
	ids    atomic.Int64
	record record
	faults faults
	done   chan struct{}
	close  sync.Once

	// Immutable after New: what clients may send.
	events map[string]shape
	send   shape

	mu       sync.RWMutex // guards what follows
	sessions map[string]*Session
	order    []*Session // by creation, oldest first
	agents   map[string]*agent
	calls    map[string]*Session // by call id
}

// New makes a server without sessions. Close it before the http.Server that it
// stands behind, so that open streams end.
func New(opts Options) *Server {
	if opts.Heartbeat == 0 {
		opts.Heartbeat = 15 * time.Second
	}
	if opts.MaxBody == 0 {
		opts.MaxBody = 32 << 20
	}
	if opts.KeepRequests == 0 {
		opts.KeepRequests = 100_000
	}
	s := &Server{
		opts:     opts,
		mark:     strings.ToLower(rand.Text()[:8]),
		record:   record{keep: opts.KeepRequests},
		done:     make(chan struct{}),
		sessions: map[string]*Session{},
		agents:   map[string]*agent{},
		calls:    map[string]*Session{},
	}
	s.events = eventShapes()
	s.send = sendShape(s.events)
	s.SetKey(opts.Key)
	return s
}

// Handler returns the server as an http.Handler.
func (s *Server) Handler() http.Handler { return s }

// SetKey changes the only credential that is accepted. Empty accepts any.
// Streams that are open stay open.
func (s *Server) SetKey(key string) { s.key.Store(&key) }

// Close ends all open streams and all requests that a fault holds. The server
// can't be used for streams afterwards.
func (s *Server) Close() { s.close.Do(func() { close(s.done) }) }

// newID makes an id that no other has, of this server or another.
func (s *Server) newID(prefix string) string {
	return fmt.Sprintf("%s_sim%s%06d", prefix, s.mark, s.ids.Add(1))
}

// exchange is a request on its way through the server.
type exchange struct {
	req       *Request // shared with the record: only its immutable fields are read
	requestID string
}

type exchangeKey struct{}

// ServeHTTP answers one request: it is recorded, then meets the faults that are
// armed for it, then the API.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := classify(r)
	var tooLarge bool
	if r.Body != nil && r.Method != http.MethodGet {
		body, err := io.ReadAll(io.LimitReader(r.Body, s.opts.MaxBody+1))
		if err != nil {
			return // the client has gone
		}
		tooLarge = int64(len(body)) > s.opts.MaxBody
		q.Body = body
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	q.At = time.Now()
	s.record.begin(q)
	if s.opts.OnRequest != nil {
		s.opts.OnRequest(*q)
	}
	x := &exchange{req: q, requestID: fmt.Sprintf("req_sim%08d", q.N)}
	w.Header().Set("request-id", x.requestID)
	sw := &statusWriter{ResponseWriter: w, seen: func(status int) { s.record.status(q, status) }}
	defer s.finish(q)
	h := http.Handler(http.HandlerFunc(s.api))
	if tooLarge {
		h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			writeError(w, refuse(http.StatusRequestEntityTooLarge, "request exceeds %d bytes", s.opts.MaxBody), x.requestID)
		})
	}
	h = s.faults.wrap(q, h)
	h.ServeHTTP(sw, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)))
}

func (s *Server) finish(q *Request) {
	s.record.end(q)
	if s.opts.OnAnswer != nil {
		s.record.mu.Lock()
		copied := *q
		s.record.mu.Unlock()
		s.opts.OnAnswer(copied)
	}
}

// classify reads kind and ids off a request.
func classify(r *http.Request) *Request {
	q := &Request{
		Endpoint: Other, Method: r.Method, Path: r.URL.Path,
		Query: r.URL.Query(), Header: r.Header.Clone(),
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if len(parts) < 2 || parts[0] != "v1" {
		return q
	}
	if len(parts) >= 3 {
		switch parts[1] {
		case "sessions":
			q.Session = parts[2]
			parts[2] = "*"
		case "agents":
			q.Agent = parts[2]
			parts[2] = "*"
		}
	}
	switch r.Method + " " + strings.Join(parts[1:], "/") {
	case "GET sessions/*/events/stream":
		q.Endpoint = Stream
	case "GET sessions/*/events":
		q.Endpoint = List
	case "POST sessions/*/events":
		q.Endpoint = Send
	case "GET sessions/*":
		q.Endpoint = Get
	case "DELETE sessions/*":
		q.Endpoint = Delete
	case "POST sessions/*/archive":
		q.Endpoint = Archive
	case "GET sessions":
		q.Endpoint = ListSessions
	case "GET agents/*":
		q.Endpoint = GetAgent
	case "POST agents/*":
		q.Endpoint = UpdateAgent
	}
	return q
}

// api is the API without faults.
func (s *Server) api(w http.ResponseWriter, r *http.Request) {
	x := r.Context().Value(exchangeKey{}).(*exchange)
	if err := s.authorize(r.Header); err != nil {
		writeError(w, err, x.requestID)
		return
	}
	body, err := s.answer(w, r, x)
	switch {
	case err != nil:
		writeError(w, err, x.requestID)
	case body != nil:
		writeJSON(w, http.StatusOK, body)
	}
}

// answer returns what to answer with; neither body nor error means that the
// answer, a stream, is over.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, x *exchange) ([]byte, *apiError) {
	q := x.req
	var sess *Session
	if q.Session != "" {
		s.mu.RLock()
		sess = s.sessions[q.Session]
		s.mu.RUnlock()
		if sess == nil || sess.isDeleted() {
			return nil, refuse(http.StatusNotFound, "session %s was not found", q.Session)
		}
	}
	switch q.Endpoint {
	case Stream:
		return nil, sess.serveStream(w, r)
	case List:
		return sess.serveList(q.Query)
	case Send:
		return sess.serveSend(q)
	case Get:
		return sess.resource(), nil
	case Archive:
		sess.Archive()
		return sess.resource(), nil
	case Delete:
		sess.Delete()
		return object("type", "session_deleted", "id", sess.id), nil
	case ListSessions:
		return s.serveSessions(q.Query)
	case GetAgent:
		return s.serveAgent(q)
	case UpdateAgent:
		return s.serveAgentUpdate(q)
	}
	return nil, refuse(http.StatusNotFound, "the simulation has no %s %s", q.Method, q.Path)
}

// statusWriter tells which status was written.
type statusWriter struct {
	http.ResponseWriter
	seen func(int)
}

func (w *statusWriter) WriteHeader(status int) {
	w.seen(status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	w.seen(http.StatusOK)
	return w.ResponseWriter.Write(p)
}

// Unwrap serves http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

package sim

import (
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Endpoint is a kind of request.
type Endpoint string

// The endpoints that the simulation has. A request to any other is Other.
const (
	Stream       Endpoint = "stream"       // GET /v1/sessions/{id}/events/stream
	List         Endpoint = "list"         // GET /v1/sessions/{id}/events
	Send         Endpoint = "send"         // POST /v1/sessions/{id}/events
	Get          Endpoint = "get"          // GET /v1/sessions/{id}
	Archive      Endpoint = "archive"      // POST /v1/sessions/{id}/archive
	Delete       Endpoint = "delete"       // DELETE /v1/sessions/{id}
	ListSessions Endpoint = "sessions"     // GET /v1/sessions
	GetAgent     Endpoint = "agent"        // GET /v1/agents/{id}
	UpdateAgent  Endpoint = "update_agent" // POST /v1/agents/{id}
	Other        Endpoint = "other"
)

// Request is one request that arrived, whatever became of it.
type Request struct {
	// N counts the requests of a server, from 1.
	N int64
	// Session is the id in the path, empty where there is none.
	Session string
	// Agent is the id in the path, empty where there is none.
	Agent string
	// Endpoint is what was asked for.
	Endpoint Endpoint
	Method   string
	Path     string
	Query    url.Values
	// Header is the whole header, credentials included: not to be printed.
	Header http.Header
	// Body is the body, nil for a GET.
	Body []byte
	// At is when the request had arrived, body included.
	At time.Time
	// Status is the status that was answered, zero while there is none.
	Status int
	// Done is when the answer was complete or broken off, zero before.
	Done time.Time
}

type countKey struct {
	session  string
	endpoint Endpoint
}

// record keeps the last requests, and counts them all.
type record struct {
	mu     sync.Mutex
	keep   int
	n      int64
	last   []*Request // oldest first
	counts map[countKey]int
}

// begin enters a request. The entry is shared: touch it under the lock only.
func (r *record) begin(q *Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	q.N = r.n
	if r.counts == nil {
		r.counts = map[countKey]int{}
	}
	r.counts[countKey{q.Session, q.Endpoint}]++
	r.last = append(r.last, q)
	if len(r.last) > 2*r.keep { // copied seldom, so that one request costs O(1)
		r.last = append([]*Request(nil), r.last[len(r.last)-r.keep:]...)
	}
}

func (r *record) status(q *Request, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.Status == 0 {
		q.Status = status
	}
}

func (r *record) end(q *Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q.Done = time.Now()
}

// Requests returns the requests of a session to an endpoint, oldest first. An
// empty session or endpoint means any. Only the last Options.KeepRequests are
// remembered; [Server.Count] counts all.
func (s *Server) Requests(session string, endpoint Endpoint) []Request {
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	var out []Request
	for _, q := range s.record.last {
		if (session == "" || q.Session == session) && (endpoint == "" || q.Endpoint == endpoint) {
			out = append(out, *q)
		}
	}
	return out
}

// Count returns how many requests have arrived, an empty session or endpoint
// meaning any. It costs O(1) when both are given.
func (s *Server) Count(session string, endpoint Endpoint) int {
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	if session != "" && endpoint != "" {
		return s.record.counts[countKey{session, endpoint}]
	}
	n := 0
	for k, c := range s.record.counts {
		if (session == "" || k.session == session) && (endpoint == "" || k.endpoint == endpoint) {
			n += c
		}
	}
	return n
}

package sim

import (
	"net/http"
	"slices"
	"sync"
)

// Action is what a fault does: it wraps the handler of a request. The request's
// body is in memory and may be read again.
type Action func(next http.Handler) http.Handler

// Fault chooses the requests that an Action befalls. The zero values choose
// most: any session, any endpoint, once.
type Fault struct {
	// Session is the id of a session. Empty means any.
	Session string
	// Endpoint is a kind of request. Empty means any.
	Endpoint Endpoint
	// When chooses further. Nil means every request.
	When func(Request) bool
	// Skip is how many of the chosen requests go unharmed first.
	Skip int
	// Times is how many requests it befalls. Zero means one, a negative
	// number all.
	Times int
	// Do is what happens.
	Do Action
}

// Armed is a fault that was armed.
type Armed struct {
	fault Fault

	mu      *sync.Mutex // the server's
	skipped int
	fired   int
	off     bool
}

// Fired returns how many requests it has befallen.
func (a *Armed) Fired() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fired
}

// Disarm ends it for requests to come.
func (a *Armed) Disarm() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.off = true
}

// faults are those of a server, in the order in which they were armed.
type faults struct {
	mu    sync.Mutex
	armed []*Armed
}

// Arm arms a fault. Where several befall one request, the one armed first is
// the outermost.
func (s *Server) Arm(f Fault) *Armed {
	if f.Times == 0 {
		f.Times = 1
	}
	a := &Armed{fault: f, mu: &s.faults.mu}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.armed = append(s.faults.armed, a)
	return a
}

// Fail arms a fault of this session, which happens once.
func (s *Session) Fail(endpoint Endpoint, do Action) *Armed {
	return s.srv.Arm(Fault{Session: s.id, Endpoint: endpoint, Do: do})
}

// wrap puts the faults that befall a request around its handler.
func (f *faults) wrap(q *Request, h http.Handler) http.Handler {
	f.mu.Lock()
	var hit []Action
	for _, a := range f.armed {
		if a.befalls(q) {
			hit = append(hit, a.fault.Do)
		}
	}
	f.armed = slices.DeleteFunc(f.armed, func(a *Armed) bool {
		return a.off || a.fault.Times >= 0 && a.fired >= a.fault.Times
	})
	f.mu.Unlock()
	for _, do := range slices.Backward(hit) {
		h = do(h)
	}
	return h
}

func (a *Armed) befalls(q *Request) bool {
	f := a.fault
	switch {
	case a.off, f.Times >= 0 && a.fired >= f.Times,
		f.Session != "" && f.Session != q.Session,
		f.Endpoint != "" && f.Endpoint != q.Endpoint,
		f.When != nil && !f.When(*q):
		return false
	case a.skipped < f.Skip:
		a.skipped++
		return false
	}
	a.fired++
	return true
}

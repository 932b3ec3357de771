package mcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"toolhand/internal/tools"
	"toolhand/internal/tools/proctree"
)

const (
	// startBound is what a server gets from its start, or from the first request
	// to it, until its session is ready.
	startBound = 20 * time.Second
	// linger is how long a server is kept that no set in force refers to and that
	// no call needs: between the loading of a set and its coming into force, and
	// between two calls that keep the tools of an older set.
	linger = 3 * time.Second
)

// Servers owns the connections to MCP servers: one for all tools of one server,
// whether it is a program or at a URL. A server is started when it is first
// needed, and again, with a growing pause, when it is needed after it has ended.
// It is kept while a set in force refers to it (see Keep) or a call needs it.
// One a process; its methods may be called at any time by anybody.
type Servers struct {
	procs   *proctree.Processes
	log     *slog.Logger
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	started atomic.Uint64
	changed chan struct{}
	start   time.Duration // startBound, but in tests
	write   time.Duration // writeBound, but in tests

	freshValues int           // but in tests
	freshWindow time.Duration // but in tests

	mu     sync.Mutex
	byKey  map[string]*server // guarded by mu
	closed bool               // guarded by mu
}

var errServersClosed = errors.New("the worker is stopping")

// NewServers makes the owner of all MCP servers of this process. procs owns the
// trees of those that are programs; it is closed after Servers. log receives what
// happens to servers, and at the debug level what they say; nil discards.
func NewServers(procs *proctree.Processes, log *slog.Logger) *Servers {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Servers{procs: procs, log: log, changed: make(chan struct{}, 1), start: startBound, write: writeBound, freshValues: freshValues, freshWindow: freshWindow, byKey: map[string]*server{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close stops all servers, and returns when nothing of them runs any more.
func (s *Servers) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	return nil
}

// Changed is readable when what some server offers has changed: when it was
// listed for the first time, or offers other tools than before.
func (s *Servers) Changed() <-chan struct{} { return s.changed }

// run starts a goroutine that Close waits for; it reports whether it did.
func (s *Servers) run(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Go(f)
	return true
}

// server finds the server of an endpoint, or makes it. Servers are never
// forgotten: there are as many as the manifests of this process ever described.
func (s *Servers) server(e *endpoint) *server {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.byKey[e.key]
	if found == nil {
		found = newServer(s, e)
		s.byKey[e.key] = found
	}
	return found
}

// Keep says what the set in force consists of: the servers of these handlers and
// groups are kept, those of the groups are listed, and listed again when they
// say that their tools have changed; the others are stopped once no call needs
// them.
func (s *Servers) Keep(handlers []tools.Handler, groups []*Group) {
	kept, listed := map[*server]bool{}, map[*server]bool{}
	for _, h := range handlers {
		if m, ok := h.(*handler); ok {
			kept[m.server] = true
		}
	}
	for _, g := range groups {
		kept[g.server], listed[g.server] = true, true
	}
	s.mu.Lock()
	all := make([]*server, 0, len(s.byKey))
	for _, one := range s.byKey {
		all = append(all, one)
	}
	s.mu.Unlock()
	for _, one := range all {
		one.keep(kept[one], listed[one])
	}
}

// A server is one MCP server, connected or not.
type server struct {
	all *Servers
	at  *endpoint
	log *slog.Logger
	// again is readable when its tools should be listed again.
	again chan struct{}

	mu        sync.Mutex
	kept      bool               // guarded by mu
	unlist    context.CancelFunc // guarded by mu; not nil while its tools are followed
	calls     int                // guarded by mu; what needs it now
	idle      *time.Timer        // guarded by mu; stops it when nothing has needed it for a while
	peer      *peer              // guarded by mu; nil: not connected
	dialling  *dialling          // guarded by mu; nil: nobody connects
	pauses    pauses             // guarded by mu
	notBefore time.Time          // guarded by mu; of the next start
	why       error              // guarded by mu; the last failure
	modern    bool               // guarded by mu; it refused the handshake of older versions
	tools     []ServerTool       // guarded by mu; as they were listed last
	known     bool               // guarded by mu; they were listed
	since     time.Time          // guarded by mu; the begin of the window of fresh
	fresh     int                // guarded by mu; values of new schemas in it
	held      bool               // guarded by mu; a change of tools waits for its end
}

// A dialling is one attempt to connect, for all who wait for it.
type dialling struct {
	done chan struct{}
	peer *peer
	err  error
}

func newServer(all *Servers, e *endpoint) *server {
	s := &server{all: all, at: e, log: all.log.With("server", e.name), again: make(chan struct{}, 1)}
	s.pauses.reset()
	return s
}

// acquire connects where it must, and returns a connection that is kept until
// release. Its error is an *UnavailableError.
func (s *server) acquire(ctx context.Context) (*peer, error) {
	for {
		s.mu.Lock()
		if p := s.peer; p != nil && !p.ended() {
			s.need()
			s.mu.Unlock()
			return p, nil
		}
		d := s.dialling
		if d == nil {
			if err := s.mayDial(); err != nil {
				s.mu.Unlock()
				return nil, err
			}
			d = &dialling{done: make(chan struct{})}
			if !s.all.run(func() { s.connection(d) }) {
				s.mu.Unlock()
				return nil, &tools.UnavailableError{Err: errServersClosed}
			}
			s.dialling = d
		}
		s.mu.Unlock()
		select {
		case <-d.done:
		case <-ctx.Done():
			return nil, &tools.UnavailableError{Err: context.Cause(ctx)}
		}
		if d.err != nil {
			return nil, s.unavailable(d.err)
		}
	}
}

// mayDial says why not, while the pause after a failure lasts. mu is held.
func (s *server) mayDial() error {
	if wait := time.Until(s.notBefore); wait > 0 {
		return &tools.UnavailableError{Passing: s.pauses.few(), Err: fmt.Errorf("%w; it is tried again in %v", s.why, wait.Round(10*time.Millisecond))}
	}
	return nil
}

func (s *server) unavailable(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &tools.UnavailableError{Passing: s.pauses.few(), Err: err}
}

// need notes that somebody needs the connection. mu is held.
func (s *server) need() {
	s.calls++
	if s.idle != nil {
		s.idle.Stop()
	}
}

// release ends what acquire began.
func (s *server) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls--
	s.maybeIdle()
}

// maybeIdle has the connection ended after a while, if nobody keeps or needs it.
// mu is held.
func (s *server) maybeIdle() {
	if s.kept || s.calls > 0 || s.peer == nil {
		return
	}
	if s.idle != nil {
		s.idle.Stop()
	}
	s.idle = time.AfterFunc(linger, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.kept && s.calls == 0 && s.peer != nil {
			s.log.Debug("an MCP server is stopped that no tool needs any more")
			s.peer.end(errClosed)
		}
	})
}

// keep says whether a set in force refers to it, and to its list.
func (s *server) keep(kept, listed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = kept
	if kept && s.idle != nil {
		s.idle.Stop()
	}
	s.maybeIdle()
	switch {
	case listed && s.unlist != nil:
		s.listAgain()
	case listed:
		ctx, cancel := context.WithCancel(s.all.ctx)
		if s.all.run(func() { s.followTools(ctx) }) {
			s.unlist = cancel
		} else {
			cancel()
		}
	case !listed && s.unlist != nil:
		s.unlist()
		s.unlist = nil
	}
}

// connection is one connection from its making to its end, in a goroutine of its
// own.
func (s *server) connection(d *dialling) {
	s.mu.Lock()
	modern := s.modern
	s.mu.Unlock()
	p, err := s.dial(modern)
	if err != nil && !modern && refusedHandshake(err) {
		if p, err = s.dial(true); err == nil {
			modern = true
		}
	}
	s.mu.Lock()
	s.dialling = nil
	if err != nil {
		s.failed(err)
		if s.all.ctx.Err() == nil { // else it is we who have stopped it
			s.log.Warn("an MCP server can't be used", "error", s.why, "again_in", time.Until(s.notBefore).Round(time.Millisecond).String())
		}
		d.err = s.why
	} else {
		s.peer, s.modern, d.peer = p, modern, p
		s.maybeIdle()
		s.log.Debug("an MCP server is ready", "took", time.Since(p.begun).Round(time.Millisecond).String())
	}
	close(d.done)
	s.mu.Unlock()
	if err == nil {
		s.watch(p)
	}
}

// watch waits for the end of a connection, and for its remains to be gone.
func (s *server) watch(p *peer) {
	up := time.Now()
	select {
	case <-p.wire.over:
	case <-s.all.ctx.Done():
		p.end(errServersClosed)
		<-p.wire.over
	}
	s.mu.Lock()
	s.peer = nil
	meant := errors.Is(p.reason(), errClosed) || s.all.ctx.Err() != nil
	if !meant {
		if p.answered.Load() || time.Since(up) > steady {
			s.pauses.reset()
		}
		s.failed(p.reason())
		s.log.Warn("the connection to an MCP server ended", "error", p.reason())
		// They may hold what was in a call, or a secret of the server's.
		s.log.Debug("the last words of an MCP server that ended", "stderr", p.lastWords())
	}
	s.mu.Unlock()
	p.gone()
}

// failed sets when the server may be started again. mu is held.
func (s *server) failed(err error) {
	s.why = plainMCP(err)
	s.notBefore = time.Now().Add(s.pauses.next())
}

// plainMCP is an error without the words of the SDK that are of no use to a
// reader, and without a URL.
func plainMCP(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the connection to the server ended")
	}
	return withoutURL(err)
}

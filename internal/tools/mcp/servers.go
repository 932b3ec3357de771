package mcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"toolhand/internal/tools"
	"toolhand/internal/tools/proctree"
)

const (
	// startBound is what a server at a URL gets at least until its session is ready: it
	// gets as long as the call that asked first.
	startBound = time.Minute
	// programBound is what a program gets, which may have to be downloaded first, and
	// programReload what it keeps of it when the tools are loaded anew.
	programBound  = 10 * time.Minute
	programReload = time.Minute
	// linger is how long a server is kept that no set in force refers to and that
	// no call needs: between the loading of a set and its coming into force, and
	// between two calls that keep the tools of an older set.
	linger = 3 * time.Second
	// startLinger is the same while it starts.
	startLinger = 5 * time.Minute
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
	cancel  context.CancelCauseFunc
	running goroutines
	started atomic.Uint64
	changed chan struct{}
	start   time.Duration // startBound, except in tests
	program time.Duration // programBound, except in tests
	reload  time.Duration // programReload, except in tests
	ping    time.Duration // pingBound, except in tests

	freshValues int           // freshValues, except in tests
	freshWindow time.Duration // freshWindow, except in tests

	mu    sync.Mutex
	byKey map[string]*server // guarded by mu
}

var (
	errServersClosed = errors.New("the worker is stopping")
	errReload        = errors.New("the tools were loaded anew")
	errUnneeded      = errors.New("no tool needs the server any more")
)

// NewServers makes the owner of all MCP servers of this process. procs owns the
// trees of those that are programs; it is closed after Servers. log receives what
// happens to servers, and at the debug level what they say; nil discards.
func NewServers(procs *proctree.Processes, log *slog.Logger) *Servers {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Servers{procs: procs, log: log, changed: make(chan struct{}, 1), start: startBound, program: programBound, reload: programReload, ping: pingBound, freshValues: freshValues, freshWindow: freshWindow, byKey: map[string]*server{}}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// Close stops all servers, and returns when nothing of them runs any more.
func (s *Servers) Close() error {
	s.cancel(errServersClosed)
	s.running.close()
	return nil
}

// Changed is readable when what some server offers has changed: when it was
// listed for the first time, or offers other tools than before.
func (s *Servers) Changed() <-chan struct{} { return s.changed }

// goroutines are those that their owner waits for before it ends.
type goroutines struct {
	mu     sync.Mutex
	closed bool           // guarded by mu
	all    sync.WaitGroup // added to under mu
}

// run starts one. It reports whether it did.
func (g *goroutines) run(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.all.Go(f)
	}
	return !g.closed
}

// close waits for all. None is started any more.
func (g *goroutines) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.all.Wait()
}

// server finds the server of an endpoint, or makes it. Servers are never
// forgotten: there are as many as the manifests of this process ever described.
func (s *Servers) server(e *endpoint) *server {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.byKey[e.key]
	if found == nil {
		found = &server{owner: s, endpoint: e, log: s.log.With("server", e.name), relist: make(chan struct{}, 1)}
		s.byKey[e.key] = found
	}
	found.mu.Lock()
	defer found.mu.Unlock()
	found.named = true
	return found
}

// Keep says what the set in force consists of: the servers of these handlers and
// groups are kept, those of the groups are listed, and listed again when they
// say that their tools have changed; the others are stopped once no call needs
// them. A program that a manifest was read for, and that has not done the handshake for
// long, is started anew.
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
	owner    *Servers
	endpoint *endpoint
	log      *slog.Logger
	// relist is readable when its tools should be listed again.
	relist chan struct{}

	mu        sync.Mutex
	kept      bool               // guarded by mu
	named     bool               // guarded by mu; by a manifest that was read since the last keep
	unlist    context.CancelFunc // guarded by mu; not nil while its tools are followed
	calls     int                // guarded by mu; what needs it or waits for it now
	idle      *time.Timer        // guarded by mu; stops it when nothing has needed it for a while
	client    *client            // guarded by mu; nil: not connected
	old       *client            // guarded by mu; the last program that was left to the calls it has
	attempt   *attempt           // guarded by mu; nil: nobody connects
	pauses    pauses             // guarded by mu
	notBefore time.Time          // guarded by mu; of the next start
	lastErr   error              // guarded by mu; the last failure
	tools     []ServerTool       // guarded by mu; as they were listed last
	problems  []Problem          // guarded by mu; of that list
	known     bool               // guarded by mu; they were listed

	windowBegin  time.Time // guarded by mu; see freshWindow
	windowValues int       // guarded by mu; values of new schemas in the window
	changeHeld   bool      // guarded by mu; a change of tools waits for its end
}

// An attempt is one to connect, for all who wait for it.
type attempt struct {
	client *client
	bound  time.Duration // see dial
	done   chan struct{}
	err    error // read it after done
}

// acquire connects where it must, and returns a connection that is kept until
// release. It waits until ctx ends. Its error is an *UnavailableError.
func (s *server) acquire(ctx context.Context) (*client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.idle != nil {
		s.idle.Stop()
	}
	for !s.ready() {
		if err := s.await(ctx); err != nil {
			s.calls--
			s.maybeIdle()
			return nil, err
		}
	}
	s.client.users++
	return s.client, nil
}

// ready reports whether there is a connection for a call. One that is of no use is left
// to the calls that it has, and ends with the last of them. Of a program there are two
// at most: while one was left, the next is shared even if it hangs. mu is held.
func (s *server) ready() bool {
	c := s.client
	if c == nil || c.ctx.Err() != nil {
		return false
	}
	why := c.useless()
	if why == nil {
		return true
	}
	if s.endpoint.path != "" {
		if s.old != nil && s.old.ctx.Err() == nil {
			return true
		}
		s.old = c
	}
	c.left, s.client = why, nil
	s.endUnused(c)
	s.listAgain()
	return false
}

// endUnused ends a connection that nobody uses and that is of no use to others. mu is
// held.
func (s *server) endUnused(c *client) {
	if why := cmp.Or(c.left, c.useless()); why != nil && c.users == 0 {
		c.end(why)
	}
}

// await waits for an attempt to connect, which it begins where there is none. An attempt
// goes on when who waits for it has given up. mu is held, but while it waits.
func (s *server) await(ctx context.Context) error {
	if s.attempt == nil {
		if err := s.mayDial(); err != nil {
			return err
		}
		a := &attempt{client: s.newClient(), bound: s.owner.start, done: make(chan struct{})}
		if s.endpoint.path != "" {
			a.bound = s.owner.program
		} else if deadline, ok := ctx.Deadline(); ok {
			a.bound = max(a.bound, time.Until(deadline))
		}
		if !s.owner.running.run(func() { s.connection(a) }) {
			return &tools.UnavailableError{Err: errServersClosed}
		}
		s.attempt = a
	}
	a := s.attempt
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-a.done:
	case <-ctx.Done():
		return &tools.UnavailableError{Err: a.client.unanswered("initialize", time.Since(a.client.begun), context.Cause(ctx))}
	}
	if a.err != nil {
		return s.unavailable(a.err)
	}
	return nil
}

// mayDial says why not, while the pause after a failure lasts. mu is held.
func (s *server) mayDial() error {
	if wait := time.Until(s.notBefore); wait > 0 {
		return &tools.UnavailableError{Passing: s.pauses.few(), Err: fmt.Errorf("%w; it is tried again in %v", s.lastErr, wait.Round(10*time.Millisecond))}
	}
	return nil
}

func (s *server) unavailable(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &tools.UnavailableError{Passing: s.pauses.few(), Err: err}
}

// release ends what acquire began.
func (s *server) release(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.users--
	s.endUnused(c)
	s.calls--
	s.maybeIdle()
}

// maybeIdle has the connection, or the attempt at one, ended after a while, if nobody
// keeps or needs it. mu is held.
func (s *server) maybeIdle() {
	c, wait := s.client, linger
	if s.attempt != nil {
		c, wait = s.attempt.client, startLinger
	}
	if s.kept || s.calls > 0 || c == nil {
		return
	}
	if s.idle != nil {
		s.idle.Stop()
	}
	s.idle = time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.kept && s.calls == 0 {
			s.log.Debug("an MCP server is stopped that no tool needs any more")
			c.end(errUnneeded)
		}
	})
}

// keep says whether a set in force refers to it, and to its list.
func (s *server) keep(kept, listed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = kept
	if a := s.attempt; a != nil && s.named && s.endpoint.path != "" && time.Since(a.client.begun) > s.owner.reload {
		a.client.end(a.client.unanswered("initialize", time.Since(a.client.begun), errReload))
	}
	s.named = false
	if kept && s.idle != nil {
		s.idle.Stop()
	}
	s.maybeIdle()
	switch {
	case listed && s.unlist != nil:
		s.listAgain()
	case listed:
		ctx, cancel := context.WithCancel(s.owner.ctx)
		if s.owner.running.run(func() { s.followTools(ctx) }) {
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
func (s *server) connection(a *attempt) {
	c := a.client
	err := c.dial(a.bound)
	s.mu.Lock()
	s.attempt = nil
	if err != nil {
		a.err = err
		if s.ended(c) {
			s.log.Warn("an MCP server can't be used", "error", c.reason(), "again_in", time.Until(s.notBefore).Round(time.Millisecond).String())
		}
	} else {
		s.client, s.lastErr = c, nil
		s.maybeIdle()
		s.log.Debug("an MCP server is ready", "took", time.Since(c.begun).Round(time.Millisecond).String())
	}
	close(a.done)
	s.mu.Unlock()
	if err == nil {
		s.watch(c)
	}
}

// watch waits for the end of a connection, and for its remains to be gone.
func (s *server) watch(c *client) {
	up := time.Now()
	<-c.ctx.Done()
	s.mu.Lock()
	if s.client == c {
		s.client = nil
	}
	if c.left == nil && (c.answered.Load() || time.Since(up) > steady) {
		s.pauses = pauses{}
	}
	if s.ended(c) {
		s.log.Warn("the connection to an MCP server ended", "error", c.reason())
	}
	s.mu.Unlock()
	<-c.gone
}

// ended sets when the server may be started again, unless it is we who have stopped it,
// and reports whether it is not. One that has forgotten a session is there for another
// one, and one that was left has been followed by another. mu is held.
func (s *server) ended(c *client) bool {
	err := c.reason()
	if errors.Is(err, errUnneeded) || s.owner.ctx.Err() != nil {
		return false
	}
	if c.left != nil {
		return true
	}
	s.lastErr = c.spoken(err)
	if !errors.Is(err, errForgotten) {
		s.notBefore = time.Now().Add(s.pauses.next())
	}
	return true
}

package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// legacy is the version of the protocol that a session begins with. The one
// after it has no handshake and no sessions; it is used with servers that refuse
// this one.
const legacy = "2025-11-25"

// pingBound is what a server gets to answer a ping after a call of it has hung.
const pingBound = 10 * time.Second

// A peer is a server that is connected.
type peer struct {
	begun    time.Time
	session  *mcp.ClientSession
	wire     *wire
	stdio    *stdio      // nil at a URL
	courier  *courier    // nil for a program
	answered atomic.Bool // some request after the handshake
	calls    atomic.Int64
	cause    atomic.Pointer[error] // why we ended it
}

// dial connects, and makes a session. A connection that is refused leaves
// nothing behind.
func (s *server) dial(modern bool) (*peer, error) {
	ctx, cancel := context.WithTimeout(s.all.ctx, s.all.start)
	defer cancel()
	p := &peer{begun: time.Now()}
	var way mcp.Transport
	if s.at.path == "" {
		p.courier, way = streamable(s.at)
	} else {
		c, err := startStdio(ctx, s.all, s.at, s.log)
		if err != nil {
			return nil, err
		}
		p.stdio, way = c, ready{c}
	}
	version := legacy
	if modern {
		version = "" // the newest
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "toolhand", Version: "1"}, &mcp.ClientOptions{
		// Nothing is offered: no roots, no sampling, no elicitation.
		Capabilities: &mcp.ClientCapabilities{},
		// A call is sent once.
		MultiRoundTrip: &mcp.MultiRoundTripOptions{Disabled: true},
	})
	session, err := client.Connect(ctx, tapped{way, p, s}, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		if ctx.Err() != nil && s.all.ctx.Err() == nil {
			err = fmt.Errorf("the server was not ready within %v", s.all.start)
		} else if why := p.trouble(); why != nil && !refusedHandshake(err) {
			err = why
		} else if p.wire != nil && overNow(p.wire.over) && !refusedHandshake(err) {
			err = p.reason()
		}
		if words := p.lastWords(); words != "" {
			s.log.Debug("the last words of an MCP server that can't be used", "stderr", words)
		}
		p.end(errClosed)
		p.gone()
		return nil, err
	}
	p.session = session
	return p, nil
}

// ready is the transport of a connection that stands already.
type ready struct{ c *stdio }

// Connect returns the connection.
func (r ready) Connect(context.Context) (mcp.Connection, error) { return r.c, nil }

// tapped puts the wire between a transport and the session.
type tapped struct {
	way mcp.Transport
	p   *peer
	s   *server
}

// Connect connects, and makes the wire.
func (t tapped) Connect(ctx context.Context) (mcp.Connection, error) {
	c, err := t.way.Connect(ctx)
	if err != nil {
		return nil, err
	}
	w := newWire(c, t.s.log)
	w.listChanged = t.s.listAgain
	if t.p.courier != nil {
		w.version = func(v string) { t.p.courier.version.Store(&v) }
	}
	t.p.wire = w
	return w, nil
}

// refusedHandshake reports whether the server itself said no, in JSON-RPC.
func refusedHandshake(err error) bool {
	var said *jsonrpc.Error
	return errors.As(err, &said) && (said.Code == mcp.CodeUnsupportedProtocolVersion || said.Code <= jsonrpc.CodeInvalidRequest && said.Code >= jsonrpc.CodeInternalError)
}

func overNow(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (p *peer) ended() bool { return overNow(p.wire.over) }

// trouble is what a server at a URL has just said that is no MCP; nil: nothing.
func (p *peer) trouble() error {
	if p.courier == nil {
		return nil
	}
	if err := p.courier.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// end ends the connection for a reason. It does not wait: gone does.
func (p *peer) end(err error) {
	first := p.cause.CompareAndSwap(nil, &err)
	if p.stdio != nil {
		p.stdio.fail(err)
		return
	}
	if p.wire != nil && first {
		// At most 5 s, in which the server is told that the session is over.
		go p.wire.Close()
	}
}

// gone returns when nothing is left of a connection that has ended.
func (p *peer) gone() {
	if p.wire != nil {
		<-p.wire.over
	}
	if p.session != nil {
		_ = p.session.Close()
	}
	if p.stdio != nil {
		<-p.stdio.gone
	}
	if p.courier != nil {
		p.courier.transport.CloseIdleConnections()
	}
}

// reason is why the connection ended.
func (p *peer) reason() error {
	if err := p.cause.Load(); err != nil {
		return *err
	}
	if p.stdio != nil {
		if err := context.Cause(p.stdio.ctx); err != nil && !errors.Is(err, errClosed) {
			return err
		}
	}
	return p.plain(p.wire.err)
}

// plain is an error as it may be shown.
func (p *peer) plain(err error) error {
	if p.courier != nil {
		err = p.courier.withoutID(err)
	}
	return plainMCP(err)
}

func (p *peer) lastWords() string {
	if p.stdio == nil {
		return ""
	}
	return p.stdio.lastWords()
}

// ask makes one request through do, and returns its answer as it came.
func (p *peer) ask(ctx context.Context, f *flight, do func(context.Context) error) (json.RawMessage, error) {
	// The end of the context stops the reading of what is left of an answer.
	ctx, cancel := context.WithCancel(withFlight(ctx, f))
	defer cancel()
	err := do(ctx)
	if a := f.answer.Load(); a != nil {
		p.answered.Store(true)
		return a.Result, a.Error
	}
	if err == nil {
		err = errors.New("the server's answer is missing")
	}
	if status := int(f.status.Load()); status != 0 && (status < 200 || status > 299) {
		err = &statusError{status: status, err: err}
	} else if p.ended() {
		err = p.reason()
	}
	return nil, p.plain(err)
}

// A statusError is an answer in HTTP that is no answer in MCP.
type statusError struct {
	status int
	err    error
}

// Error is the status, and what the server said in JSON-RPC, if it did.
func (e *statusError) Error() string {
	var said *jsonrpc.Error
	text := refused(e.status)
	if errors.As(e.err, &said) && said.Code != rejected {
		text += ": " + said.Message
	}
	return text
}

// rejected is the code of the SDK's own error for what its transport refused.
const rejected = -32005

// errForgotten is what a server at a URL says by 404.
var errForgotten = errors.New("the server no longer knows our session: a new one is made")

// doubt looks at the connection after a request that failed. The SDK ends one
// whose session is gone, unless the server says so in JSON-RPC; and there are
// servers that answer 400 then instead of 404.
func (s *server) doubt(p *peer, f *flight) {
	if f.noSession.Load() {
		p.end(errForgotten)
	} else if refuses(f) {
		s.all.run(func() { p.probe(s.all.ctx) })
	}
}

// refuses reports whether a request was answered with a status that may be meant
// for the session.
func refuses(f *flight) bool {
	status := f.status.Load()
	return status >= 400 && status <= 499 && status != http.StatusTooManyRequests
}

// probe looks whether a server still answers, after a call of it has hung or was
// refused: one that does not is of no use to the next call either.
func (p *peer) probe(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pingBound)
	defer cancel()
	f := &flight{}
	_, err := p.ask(ctx, f, func(ctx context.Context) error { return p.session.Ping(ctx, nil) })
	defer p.wire.drop("", f)
	switch {
	case err == nil:
		return
	case ctx.Err() == context.DeadlineExceeded:
		err = fmt.Errorf("the server did not answer a ping within %v", pingBound)
	case refuses(f):
		err = fmt.Errorf("the server refuses our session: %s", refused(int(f.status.Load())))
	default:
		return
	}
	if p.calls.Load() == 0 && !p.ended() {
		p.end(err)
	}
}

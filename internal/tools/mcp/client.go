package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/tidwall/gjson"

	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

const (
	// sessionVersion is the version of the protocol that a connection begins with: the
	// last one that has a handshake and sessions. statelessVersion, the one after it,
	// is used with servers that refuse the handshake.
	sessionVersion   = "2025-11-25"
	statelessVersion = "2026-07-28"
	// pingBound is what a server gets to answer a ping after a call of it has hung,
	// where no other call waits for it.
	pingBound = 10 * time.Second
	// maxWords bounds what is quoted of a server's words, in bytes.
	maxWords = 1 << 10
	// maxHidden is what of a text is looked at for secrets before it is cut, in bytes.
	maxHidden = 64 << 10
	// cancelBound is how long it may take to tell a server that a request is cancelled.
	cancelBound = 2 * time.Second
	// maxAnswering bounds the requests of a server's own that wait for our answer.
	maxAnswering = 64
)

// A transport carries the messages of one connection. It finds the request that a
// message belongs to with [requestOf], and keeps its state.
type transport interface {
	// Read returns the next message. One goroutine calls it.
	Read(ctx context.Context) (jsonrpc.Message, error)
	// Write sends a message. Any number of goroutines call it.
	Write(ctx context.Context, msg jsonrpc.Message) error
	// Close ends the connection, and returns when nothing of it is left.
	Close() error
}

// A client speaks MCP with one server over one connection, from the handshake to
// the end of ctx.
type client struct {
	server    *server
	begun     time.Time
	transport transport
	ctx       context.Context // ends with the connection; its cause is the reason
	end       context.CancelCauseFunc
	gone      chan struct{}          // closed when nothing of the connection is left
	version   atomic.Pointer[string] // of the protocol; nil before it is agreed upon
	meta      map[string]any         // of every request; immutable after the handshake
	answered  atomic.Bool            // some request after the handshake
	hung      atomic.Bool            // a ping has no answer, and nothing else has come since
	stale     atomic.Bool            // the server seems to have forgotten the session
	users     int                    // guarded by server.mu; acquired it, and have not released it
	left      error                  // guarded by server.mu; why nobody acquires it any more; nil: somebody may
	beside    goroutines             // that serve waits for before it closes the transport
	answering chan struct{}          // holds one for each request of the server's that waits

	mu     sync.Mutex
	last   int64                   // guarded by mu; the id of the last request
	open   map[jsonrpc.ID]*request // guarded by mu; requests without a response
	stderr content.Ending          // guarded by mu
}

func (s *server) newClient() *client {
	c := &client{
		server: s, begun: time.Now(), gone: make(chan struct{}),
		answering: make(chan struct{}, maxAnswering), open: map[jsonrpc.ID]*request{},
		stderr: content.Ending{Max: maxWords},
	}
	c.ctx, c.end = context.WithCancelCause(s.owner.ctx)
	return c
}

// dial connects, and does the handshake until the bound: an answer that is lost on the
// way, or a program that has hung, would be waited for without end. A connection that is
// refused leaves nothing behind.
func (c *client) dial(bound time.Duration) (err error) {
	ctx, cancel := context.WithTimeoutCause(c.ctx, bound, c.unanswered("initialize", bound, nil))
	defer cancel()
	if c.server.endpoint.path == "" {
		c.transport, err = newHTTPTransport(c.server.endpoint, &c.version)
	} else {
		c.transport, err = startStdio(c)
	}
	if err != nil {
		c.end(err)
		return err
	}
	go c.serve()
	if err = c.handshake(ctx); err != nil {
		c.end(err)
		<-c.gone
	}
	return err
}

// unanswered says what a server has been waited for in vain, and why no longer.
func (c *client) unanswered(method string, waited time.Duration, why error) error {
	err := fmt.Errorf("the MCP server %q has not answered %s within %v", c.server.endpoint.name, method, waited.Round(100*time.Millisecond))
	if why != nil {
		err = fmt.Errorf("%w: %w", err, why)
	}
	return c.spoken(err)
}

// spoken is an error with what the server has written to its stderr last.
func (c *client) spoken(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	said := strings.ReplaceAll(strings.TrimSpace(string(content.FromCharacter(c.stderr.Last()))), "\n", " | ")
	if said == "" {
		return err
	}
	return &tools.SaidError{Err: err, Said: "the end of its stderr: " + said}
}

// serve reads what the server sends until the connection is over, and closes it.
func (c *client) serve() {
	defer close(c.gone)
	for c.ctx.Err() == nil {
		msg, err := c.transport.Read(c.ctx)
		if err == nil {
			err = c.receive(msg)
		}
		if err != nil {
			c.end(err)
		}
	}
	c.beside.close()
	_ = c.transport.Close() // the reason of the end is known
}

// reason is why the connection ended.
func (c *client) reason() error { return plain(context.Cause(c.ctx)) }

// handshake agrees on a version of the protocol. Nothing is offered to the server:
// no roots, no sampling, no elicitation.
func (c *client) handshake(ctx context.Context) error {
	self, capabilities := map[string]any{"name": "toolhand", "version": "1"}, map[string]any{}
	answer, err := c.ask(ctx, &request{method: "initialize", params: map[string]any{
		"protocolVersion": sessionVersion, "clientInfo": self, "capabilities": capabilities,
	}})
	if refusesHandshake(err) {
		c.meta = map[string]any{
			mcp.MetaKeyProtocolVersion: statelessVersion, mcp.MetaKeyClientInfo: self, mcp.MetaKeyClientCapabilities: capabilities,
		}
		if c.discover(ctx) {
			return nil
		}
	}
	var failed *requestError
	switch {
	case errors.As(err, &failed):
		return err
	case err != nil:
		return refused("the server refuses the handshake", err)
	}
	// Nothing else of the answer is needed, whatever it looks like.
	version := gjson.GetBytes(answer, "protocolVersion").String()
	if known := mcp.SupportedProtocolVersions(); version == "" {
		return errors.New("the server names no version of the protocol in its answer to initialize")
	} else if !slices.Contains(known, version) {
		return fmt.Errorf("the server speaks version %.20q of the protocol, which is not supported: expected one of %s", version, strings.Join(known, ", "))
	}
	c.version.Store(&version)
	return plain(c.notify(ctx, "notifications/initialized", map[string]any{}))
}

// refusesHandshake reports whether the server itself said no, in JSON-RPC.
func refusesHandshake(err error) bool {
	var refusal *jsonrpc.Error
	return errors.As(err, &refusal) && (refusal.Code == mcp.CodeUnsupportedProtocolVersion ||
		refusal.Code <= jsonrpc.CodeInvalidRequest && refusal.Code >= jsonrpc.CodeInternalError)
}

// discover reports whether the server speaks the version without a handshake.
func (c *client) discover(ctx context.Context) bool {
	answer, err := c.ask(ctx, &request{method: "server/discover", params: map[string]any{}})
	if err != nil {
		return false
	}
	for _, version := range gjson.GetBytes(answer, "supportedVersions").Array() {
		if version.String() == statelessVersion {
			c.version.Store(new(statelessVersion))
			return true
		}
	}
	return false
}

// ask sends a request, once, and returns the result as the server wrote it. The
// error is a *jsonrpc.Error where the server refused the request in JSON-RPC, else
// a *requestError.
func (c *client) ask(ctx context.Context, r *request) (json.RawMessage, error) {
	// Its end stops the reading of what is left of an answer over HTTP.
	writing, cancel := context.WithCancel(context.WithValue(ctx, requestKey{}, r))
	defer cancel()
	id := c.register(r)
	err := c.write(writing, id, r.method, r.params)
	if err == nil {
		select {
		case <-r.done:
		case <-ctx.Done():
		case <-c.ctx.Done():
		}
	}
	c.mu.Lock()
	delete(c.open, id)
	response := r.response
	c.mu.Unlock()
	if response != nil {
		var refusal *jsonrpc.Error
		refused := errors.As(response.Error, &refusal)
		if response.Error == nil || refused {
			c.answered.Store(c.version.Load() != nil)
		}
		switch {
		case response.Error == nil:
			return response.Result, nil
		case refused:
			hide := c.server.endpoint.hide
			return nil, &jsonrpc.Error{Code: refusal.Code, Message: hide.Replace(refusal.Message), Data: []byte(hide.Replace(string(refusal.Data)))}
		}
		err = response.Error // the transport's own: there will be no answer
	}
	failed := c.failure(ctx, r, err)
	if failed.sent && ctx.Err() != nil && r.method != "initialize" {
		c.cancelled(id, ctx.Err())
	}
	return nil, failed
}

// register gives a request its id, by which its response and its progress are known.
func (c *client) register(r *request) jsonrpc.ID {
	r.done = make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	id, err := jsonrpc.MakeID(float64(c.last))
	if err != nil {
		panic(err) // a number is an id
	}
	c.open[id] = r
	meta := map[string]any{}
	maps.Copy(meta, c.meta)
	maps.Copy(meta, r.meta)
	if r.progress != nil {
		meta["progressToken"] = c.last
	}
	if len(meta) > 0 {
		r.params["_meta"] = meta
	}
	return id
}

// failure is why a request has no answer.
func (c *client) failure(ctx context.Context, r *request, err error) *requestError {
	failed := &requestError{sent: !r.withdraw(), status: r.status, session: r.session}
	switch {
	case ctx.Err() != nil && c.ctx.Err() == nil: // else it may have ended with the connection
		failed.err = context.Cause(ctx)
	case r.status == 0 && c.ctx.Err() != nil:
		failed.err = c.spoken(c.reason())
	default:
		failed.err = plain(err)
	}
	return failed
}

// notify sends a notification.
func (c *client) notify(ctx context.Context, method string, params map[string]any) error {
	return c.write(ctx, jsonrpc.ID{}, method, params)
}

func (c *client) write(ctx context.Context, id jsonrpc.ID, method string, params map[string]any) error {
	var encoded bytes.Buffer
	enc := json.NewEncoder(&encoded)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(params); err != nil {
		return err
	}
	return c.transport.Write(ctx, &jsonrpc.Request{ID: id, Method: method, Params: encoded.Bytes()})
}

// cancelled tells the server that nobody waits for an answer any more, also when the
// connection is ended.
func (c *client) cancelled(id jsonrpc.ID, why error) {
	c.beside.run(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), cancelBound)
		defer cancel()
		// The call has ended: what it came to does not depend on this.
		_ = c.notify(ctx, "notifications/cancelled", map[string]any{"requestId": id.Raw(), "reason": why.Error()})
	})
}

// receive takes a message of the server's. Its error ends the connection.
func (c *client) receive(msg jsonrpc.Message) error {
	c.hung.Store(false)
	switch m := msg.(type) {
	case *jsonrpc.Response:
		c.mu.Lock()
		defer c.mu.Unlock()
		id := numbered(m.ID)
		if r := c.open[id]; r != nil {
			delete(c.open, id)
			r.response = m
			close(r.done)
		}
	case *jsonrpc.Request:
		if m.IsCall() {
			return c.answer(m)
		}
		c.notified(m)
	}
	return nil
}

// numbered is an id as we gave it: some servers make a string of it.
func numbered(id jsonrpc.ID) jsonrpc.ID {
	if text, ok := id.Raw().(string); ok {
		if n, err := strconv.ParseInt(text, 10, 32); err == nil {
			id, _ = jsonrpc.MakeID(float64(n)) // a number is an id
		}
	}
	return id
}

// answer answers a request of the server's: a ping, and nothing else, since the
// handshake offers nothing else.
func (c *client) answer(m *jsonrpc.Request) error {
	select {
	case c.answering <- struct{}{}:
	default:
		return fmt.Errorf("the server has more than %d requests of its own open", maxAnswering)
	}
	response := &jsonrpc.Response{ID: m.ID}
	if m.Method == "ping" {
		response.Result = json.RawMessage("{}")
	} else {
		response.Error = &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "the client has no such method"}
	}
	c.beside.run(func() {
		_ = c.transport.Write(c.ctx, response) // a server that can't be reached is noticed by its calls
		<-c.answering
	})
	return nil
}

// notified takes a notification of the server's.
func (c *client) notified(m *jsonrpc.Request) {
	switch m.Method {
	case "notifications/progress":
		id, err := jsonrpc.MakeID(gjson.GetBytes(m.Params, "progressToken").Value())
		if err != nil {
			return
		}
		c.mu.Lock()
		r := c.open[numbered(id)]
		c.mu.Unlock()
		if r != nil && r.progress != nil {
			r.progress(m.Params)
		}
	case "notifications/tools/list_changed":
		c.server.listAgain()
	case "notifications/message":
		c.server.log.Debug("the MCP server says", "message", c.server.endpoint.quote(m.Params, maxLogLine))
	}
}

// forgets reports whether a request was answered with 404: by the protocol the server no
// longer knows our session then, and the request has not run. It ends the connection.
func (c *client) forgets(failed *requestError) bool {
	if !failed.session || failed.status != http.StatusNotFound {
		return false
	}
	c.end(errForgotten)
	return true
}

// doubts reports whether a ping gets the same 4xx as a request has got: there are servers
// that say so that they have forgotten the session. Whether the request has run is not
// known by that. The next call has a new session, those under way keep theirs.
func (c *client) doubts(ctx context.Context, failed *requestError) bool {
	if !failed.session || failed.status < 400 || failed.status > 499 || failed.status == http.StatusTooManyRequests {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, c.server.owner.ping)
	defer cancel()
	err := c.ping(ctx)
	var again *requestError
	var refusal *jsonrpc.Error
	if !errors.As(err, &again) || again.status != failed.status {
		return false
	}
	if errors.As(err, &refusal) && refusal.Code == jsonrpc.CodeMethodNotFound {
		return false // the server knows no ping
	}
	c.stale.Store(true)
	return true
}

func (c *client) ping(ctx context.Context) error {
	_, err := c.ask(ctx, &request{method: "ping", params: map[string]any{}})
	return err
}

// probe looks whether the server still answers, after a call has hung: one that does
// not is of no use to the next call either. The calls that it has are left to it: it may
// be busy with them.
func (c *client) probe() {
	ctx, cancel := context.WithTimeout(c.ctx, c.server.owner.ping)
	defer cancel()
	if err := c.ping(ctx); err != nil && ctx.Err() != nil {
		c.hung.Store(true)
		c.server.mu.Lock()
		defer c.server.mu.Unlock()
		c.server.endUnused(c)
	}
}

// useless is why the connection is of no use to another call; nil: it may be.
func (c *client) useless() error {
	switch {
	case c.stale.Load():
		return errForgotten
	case c.hung.Load():
		return fmt.Errorf("the server did not answer a ping within %v", c.server.owner.ping)
	}
	return nil
}

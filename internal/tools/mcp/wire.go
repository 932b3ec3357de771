package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"toolhand/internal/tools/content"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/tidwall/gjson"
)

// maxAsked bounds the requests of a server's own that wait for our answer: each
// is held in memory, and nobody needs more.
const maxAsked = 64

// A flight is one request of ours on its way: what is known of whether it
// reached the server, and the answer as it came.
type flight struct {
	state  atomic.Int32 // waiting, departed or withdrawn
	status atomic.Int32 // of HTTP, where that is the way; 0: none yet
	// noSession is set where the server no longer knows the session.
	noSession atomic.Bool
	answer    atomic.Pointer[jsonrpc.Response]
	id        jsonrpc.ID // guarded by wire.mu
	// progress is told what the server says of the request's progress; nil:
	// nobody.
	progress func(params json.RawMessage)
}

const (
	waiting   = iota // surely none of it is with the server
	departed         // some of it may be
	withdrawn        // none is, or will be
)

// depart is called before the first byte goes out. It reports whether it may.
func (f *flight) depart() bool {
	return f.state.CompareAndSwap(waiting, departed) || f.state.Load() == departed
}

// withdraw reports whether the server has seen nothing of the request, and won't.
func (f *flight) withdraw() bool {
	return f.state.CompareAndSwap(waiting, withdrawn) || f.state.Load() == withdrawn
}

type flightKey struct{}

func withFlight(ctx context.Context, f *flight) context.Context {
	return context.WithValue(ctx, flightKey{}, f)
}

func flightOf(ctx context.Context) *flight {
	f, _ := ctx.Value(flightKey{}).(*flight)
	return f
}

// A wire stands between the SDK's session and a connection. It keeps answers as
// they came, since the SDK would decode them and lose the order of keys, long
// numbers, and what it does not know; it takes notifications in itself, since the
// SDK would queue any number of them; and it knows when the connection is over.
type wire struct {
	mcp.Connection
	log *slog.Logger
	// listChanged and version are told what the server says.
	listChanged func()
	version     func(string)

	over chan struct{} // closed when the connection is over
	err  error         // why; read it after over

	mu       sync.Mutex
	flights  map[jsonrpc.ID]*flight // guarded by mu
	progress map[string]*flight     // guarded by mu; by token
	asked    int                    // guarded by mu; requests of the server's own
}

func newWire(c mcp.Connection, log *slog.Logger) *wire {
	return &wire{Connection: c, log: log, over: make(chan struct{}), flights: map[jsonrpc.ID]*flight{}, progress: map[string]*flight{}}
}

// Write hands a message on, after it has noted whose it is.
func (w *wire) Write(ctx context.Context, msg jsonrpc.Message) error {
	switch m := msg.(type) {
	case *jsonrpc.Request:
		if f := flightOf(ctx); f != nil && m.IsCall() {
			w.mu.Lock()
			f.id = m.ID
			w.flights[m.ID] = f
			w.mu.Unlock()
		} else {
			// The SDK tells of a cancelled call in the context of that call.
			ctx = context.WithValue(ctx, flightKey{}, nil)
		}
	case *jsonrpc.Response:
		w.mu.Lock()
		w.asked--
		w.mu.Unlock()
	}
	return w.Connection.Write(ctx, msg)
}

// Read reads the next message that is for the SDK. It is called by one goroutine
// of the SDK's, until it returns an error.
func (w *wire) Read(ctx context.Context) (jsonrpc.Message, error) {
	for {
		msg, err := w.Connection.Read(ctx)
		if err == nil {
			msg, err = w.sort(msg)
		}
		if err != nil {
			w.err = err
			close(w.over)
			return nil, err
		}
		if msg != nil {
			return msg, nil
		}
	}
}

// sort keeps a message, or returns what is left of it for the SDK.
func (w *wire) sort(msg jsonrpc.Message) (jsonrpc.Message, error) {
	switch m := msg.(type) {
	case *jsonrpc.Response:
		return w.answered(m), nil
	case *jsonrpc.Request:
		if !m.IsCall() {
			w.notified(m)
			return nil, nil
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.asked++; w.asked > maxAsked {
			return nil, fmt.Errorf("it has more than %d requests of its own open", maxAsked)
		}
	}
	return msg, nil
}

func (w *wire) answered(m *jsonrpc.Response) jsonrpc.Message {
	w.mu.Lock()
	f := w.flights[m.ID]
	delete(w.flights, m.ID)
	w.mu.Unlock()
	if f == nil {
		if v := gjson.GetBytes(m.Result, "protocolVersion"); v.Type == gjson.String && w.version != nil {
			w.version(v.Str)
		}
		return m
	}
	var said *jsonrpc.Error
	if m.Error == nil || errors.As(m.Error, &said) {
		f.answer.Store(m)
	}
	// What the SDK decodes is empty in any case: the answer is read from f.
	return &jsonrpc.Response{ID: m.ID, Error: m.Error, Result: json.RawMessage(`{"content":[],"tools":[]}`)}
}

func (w *wire) notified(m *jsonrpc.Request) {
	switch m.Method {
	case "notifications/progress":
		w.mu.Lock()
		f := w.progress[gjson.GetBytes(m.Params, "progressToken").String()]
		w.mu.Unlock()
		if f != nil {
			f.progress(m.Params)
		}
	case "notifications/tools/list_changed":
		w.listChanged()
	case "notifications/message":
		w.log.Debug("the MCP server says", "message", string(content.CutAfter(content.Valid(m.Params), maxLogLine)))
	}
}

// follow tells f of progress under a token, until drop.
func (w *wire) follow(token string, f *flight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.progress[token] = f
}

// drop forgets a flight that is over, answered or not.
func (w *wire) drop(token string, f *flight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.progress, token)
	if w.flights[f.id] == f {
		delete(w.flights, f.id)
	}
}

package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// A request is one of ours: what is asked, and how far it has come.
type request struct {
	method   string
	params   map[string]any
	meta     map[string]any               // of this request
	progress func(params json.RawMessage) // nil: nobody wants to know

	state     atomic.Int32      // queued, departed or withdrawn
	status    int               // of HTTP; 0: none. Owned by ask, as forgotten is
	forgotten bool              // the server no longer knows the session
	response  *jsonrpc.Response // guarded by client.mu
	done      chan struct{}     // closed when response is set
}

const (
	queued    = iota // none of it is with the server
	departed         // some of it may be
	withdrawn        // none is, or will be
)

// depart is called before the first byte goes out. It reports whether it may.
func (r *request) depart() bool {
	return r.state.CompareAndSwap(queued, departed) || r.state.Load() == departed
}

// withdraw reports whether the server has seen nothing of the request, and won't.
func (r *request) withdraw() bool {
	return r.state.CompareAndSwap(queued, withdrawn) || r.state.Load() == withdrawn
}

// refused reports whether the server answered with a status that means no answer.
func (r *request) refused() bool { return r.status != 0 && (r.status < 200 || r.status > 299) }

type requestKey struct{}

// requestOf is the request that a transport writes under ctx; nil: a notification,
// or an answer.
func requestOf(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	return r
}

// A requestError is why a request has no answer in JSON-RPC.
type requestError struct {
	err       error
	sent      bool // some of it may be with the server
	status    int  // of HTTP, where that is the reason; else 0
	forgotten bool // the server no longer knows the session, and so has not run it
}

// Error is the reason.
func (e *requestError) Error() string { return e.err.Error() }

// Unwrap returns the reason.
func (e *requestError) Unwrap() error { return e.err }

// refusesSession reports whether the status may be meant for the session.
func (e *requestError) refusesSession() bool {
	return e.status >= 400 && e.status <= 499 && e.status != http.StatusTooManyRequests
}

// errForgotten is what a server at a URL says by 404.
var errForgotten = errors.New("the server no longer knows our session: a new one is made")

// codeRejected is the code of the SDK's own error for what its transport refused.
const codeRejected = -32005

// statusError is an answer in HTTP that is none in MCP, and what the server said in
// JSON-RPC beside it, if it did.
func statusError(status int, err error) error {
	var refusal *jsonrpc.Error
	if errors.As(err, &refusal) && refusal.Code != codeRejected {
		return fmt.Errorf("%s: %w", statusText(status), refusal)
	}
	return errors.New(statusText(status))
}

func statusText(status int) string {
	text := fmt.Sprintf("HTTP %d %s", status, http.StatusText(status))
	if status >= 300 && status < 400 {
		text += " (redirects are not followed)"
	}
	return text
}

// plain is an error without the words of the SDK and of net/http that are of no use
// to a reader.
func plain(err error) error {
	var request *url.Error
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("the connection to the server ended")
	case errors.As(err, &request):
		return request.Err
	}
	return err
}

package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/tidwall/gjson"

	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// A request is one of ours: what is asked, and how far it has come.
type request struct {
	method   string
	params   map[string]any
	meta     map[string]any               // of this request
	progress func(params json.RawMessage) // nil: nobody wants to know

	state    atomic.Int32      // queued, departed or withdrawn
	status   int               // of HTTP, where it means no answer; else 0. Owned by ask, as session is
	session  bool              // it named a session, over HTTP
	response *jsonrpc.Response // guarded by client.mu
	done     chan struct{}     // closed when response is set
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

type requestKey struct{}

// requestOf is the request that a transport writes under ctx; nil: a notification,
// or an answer.
func requestOf(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	return r
}

// A requestError is why a request has no answer in JSON-RPC.
type requestError struct {
	err     error
	sent    bool // some of it may be with the server
	status  int  // of HTTP, where that is the reason; else 0
	session bool // it named a session, over HTTP
}

// Error is the reason.
func (e *requestError) Error() string { return e.err.Error() }

// Unwrap returns the reason.
func (e *requestError) Unwrap() error { return e.err }

// errForgotten is why a session ends that the server no longer knows.
var errForgotten = errors.New("the server no longer knows our session: a new one is made")

// errTooLong is an answer that is there and can't be read.
var errTooLong = fmt.Errorf("the server answered with a message of more than %d bytes", maxFrame)

// A statusError is an answer in HTTP that is none in MCP.
type statusError struct {
	text string
	said *jsonrpc.Error
}

// newStatusError makes one, with the server's own words.
func newStatusError(status int, said *jsonrpc.Error) error {
	text := fmt.Sprintf("HTTP %d %s", status, http.StatusText(status))
	if status >= 300 && status < 400 {
		text += " (redirects are not followed)"
	}
	return says(&statusError{text, said}, said)
}

// Error is the status.
func (e *statusError) Error() string { return e.text }

// Unwrap returns the server's own error.
func (e *statusError) Unwrap() error { return e.said }

// says is an error with the server's own words.
func says(err error, said *jsonrpc.Error) error {
	if said.Message == "" {
		return err
	}
	return &tools.SaidError{Err: err, Said: "it says: " + string(content.CutAfter([]byte(said.Message), maxWords))}
}

// refused is an error of [client.ask] in words of ours, with the server's own beside.
func refused(what string, err error) error {
	var failed *requestError
	var refusal *jsonrpc.Error
	if errors.As(err, &failed) || !errors.As(err, &refusal) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return says(fmt.Errorf("%s (code %d)", what, refusal.Code), refusal)
}

// quote is at most max bytes of what a server has written, without secrets.
func (e *endpoint) quote(text []byte, max int) string {
	text = content.Valid(text[:min(len(text), maxHidden)])
	return string(content.CutAfter([]byte(e.hide.Replace(string(text))), max))
}

// said is what a body says that is no message of the protocol: its error where it has
// one as in JSON-RPC, else its beginning, without the marks of HTML.
func (e *endpoint) said(body []byte) *jsonrpc.Error {
	text, all := content.Valid(body[:min(len(body), maxHidden)]), gjson.ParseBytes(body)
	if m := all.Get("error.message"); m.Type == gjson.String {
		text = []byte(m.Str)
	}
	text = bytes.Join(bytes.Fields(markup.ReplaceAll(text, []byte(" "))), []byte(" "))
	return &jsonrpc.Error{Code: all.Get("error.code").Int(), Message: e.quote(text, maxWords)}
}

var markup = regexp.MustCompile(`(?is)<script.*?</script>|<style.*?</style>|<[a-z!/][^>]*>`)

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

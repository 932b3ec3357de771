package mcp

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	toolhttp "toolhand/internal/tools/http"
)

// resumes is how often the SDK asks for the rest of a stream of events that broke
// off. It asks with GET and repeats no call.
const resumes = 2

// An httpTransport is the SDK's connection to a server at a URL, and carries the
// requests that it makes. It adds the query and the headers of the manifest, notes
// how far each request of ours has come, and bounds the answers.
type httpTransport struct {
	mcp.Connection
	endpoint *endpoint
	base     *http.Transport
	version  *atomic.Pointer[string] // of the protocol; nil before it is agreed upon
}

// newHTTPTransport makes a connection, without a request. No redirect is followed,
// as in the http handler.
func newHTTPTransport(e *endpoint, version *atomic.Pointer[string]) (*httpTransport, error) {
	t := &httpTransport{endpoint: e, base: toolhttp.NewTransport(), version: version}
	sdk := &mcp.StreamableClientTransport{
		Endpoint: e.url,
		HTTPClient: &http.Client{
			Transport:     t,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		MaxRetries: resumes,
		// A stream that stays open for what the server may say by itself would cost
		// a connection, and end the session where it fails.
		DisableStandaloneSSE: true,
		MaxEventSize:         maxFrame,
	}
	var err error
	t.Connection, err = sdk.Connect(context.Background())
	return t, err
}

// Read reads the next message.
func (t *httpTransport) Read(ctx context.Context) (jsonrpc.Message, error) {
	msg, err := t.Connection.Read(ctx)
	return msg, t.withoutSession(err)
}

// Write posts a message. It returns when the answer begins.
func (t *httpTransport) Write(ctx context.Context, msg jsonrpc.Message) error {
	return t.withoutSession(t.Connection.Write(ctx, msg))
}

// Close tells the server that the session is over, for at most 5 s.
func (t *httpTransport) Close() error {
	defer t.base.CloseIdleConnections()
	return t.Connection.Close()
}

// withoutSession is an error without the session's id, which the SDK likes to name,
// and which opens the session to whoever has it.
func (t *httpTransport) withoutSession(err error) error {
	id := t.SessionID()
	if err == nil || id == "" || !strings.Contains(err.Error(), id) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), id, "…"))
}

// RoundTrip sends one request, once.
func (t *httpTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, ours := req.Context(), requestOf(req.Context())
	if ours != nil {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { ours.depart() }})
	}
	out := req.Clone(ctx)
	// Without it the transport can't send the body again.
	out.GetBody = nil
	// The SDK does not know it, and so can't name it in an error.
	out.URL.RawQuery = t.endpoint.query
	for name, values := range t.endpoint.header {
		out.Header[name] = values
	}
	if t.endpoint.host != "" {
		out.Host = t.endpoint.host
	}
	if v := t.version.Load(); v != nil && out.Header.Get("Mcp-Protocol-Version") == "" {
		out.Header.Set("Mcp-Protocol-Version", *v)
	}
	resp, err := t.base.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	limited := &body{ReadCloser: resp.Body, buffered: bufio.NewReader(resp.Body), left: maxFrame}
	if kind == "text/event-stream" {
		limited.left = math.MaxInt
	}
	resp.Body = limited
	switch {
	case out.Method != http.MethodPost:
		// What GET is answered with tells of the rest of a stream: the call itself has
		// been taken before, and may have run.
		return resp, nil
	case ours == nil:
		// Nobody waits for this, and the SDK would end the connection for a refusal.
		resp.StatusCode = http.StatusAccepted
		return resp, nil
	}
	ours.session = out.Header.Get("Mcp-Session-Id") != ""
	if err := t.check(ours, resp, kind); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// check says why an answer to a request is none in MCP: so it ends this request alone,
// while the SDK would end the connection for it.
func (t *httpTransport) check(ours *request, resp *http.Response, kind string) error {
	ok := resp.StatusCode >= 200 && resp.StatusCode <= 299
	if ok && kind == "text/event-stream" {
		return nil
	}
	text, err := io.ReadAll(resp.Body)
	_, wrong := jsonrpc.DecodeMessage(text)
	if ok && kind == "application/json" && cmp.Or(err, wrong) == nil {
		resp.Body.Close()
		resp.Body = io.NopCloser(bytes.NewReader(text))
		return nil
	}
	said := t.endpoint.said(text)
	if id := resp.Request.Header.Get("Mcp-Session-Id"); id != "" {
		said.Message = strings.ReplaceAll(said.Message, id, "…")
	}
	switch {
	case !ok:
		ours.status = resp.StatusCode
		return newStatusError(resp.StatusCode, said)
	case kind != "application/json":
		return says(fmt.Errorf("it answers with %s, which is no MCP: is the path of the url right?", cmp.Or(kind, "no content type")), said)
	case err != nil:
		return err
	}
	return says(errors.New("it answers with what is no message of MCP"), said)
}

// bom is what some servers begin a text with.
var bom = []byte("\ufeff")

// A body is without the mark that it may begin with. It fails where it is longer than
// it may be.
type body struct {
	io.ReadCloser
	buffered *bufio.Reader
	left     int
	begun    bool
}

// Read reads what is left.
func (b *body) Read(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		if head, _ := b.buffered.Peek(len(bom)); bytes.Equal(head, bom) {
			_, _ = b.buffered.Discard(len(bom)) // it is there
		}
	}
	n, err := b.buffered.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

package mcp

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	toolhttp "toolhand/internal/tools/http"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// resumes is how often the SDK asks for the rest of a stream of events that broke
// off. It asks with GET and repeats no call.
const resumes = 2

// A courier carries the SDK's requests to a server at a URL. It adds the
// manifest's headers, tells the flight of each call what becomes of it, and
// bounds the answers. Its fields but the pointers are immutable.
type courier struct {
	at        *endpoint
	transport *http.Transport
	version   atomic.Pointer[string] // of the protocol, once it is agreed upon
	id        atomic.Pointer[string] // of the session, which opens it to whoever has it
	trouble   atomic.Pointer[error]  // why the last request has no answer in MCP; nil: it has one
}

// streamable makes the SDK's way to a server at a URL. No redirect is followed,
// as in the http handler.
func streamable(e *endpoint) (*courier, mcp.Transport) {
	c := &courier{at: e, transport: toolhttp.NewTransport()}
	return c, &mcp.StreamableClientTransport{
		Endpoint: e.url,
		HTTPClient: &http.Client{
			Transport:     c,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		MaxRetries: resumes,
		// A stream that stays open for what the server may say by itself would cost
		// a connection, and end the session where it fails.
		DisableStandaloneSSE: true,
		MaxEventSize:         maxFrame,
	}
}

// RoundTrip sends one request, once.
func (c *courier) RoundTrip(req *http.Request) (*http.Response, error) {
	f := flightOf(req.Context())
	ctx := req.Context()
	if f != nil {
		if f.state.Load() == withdrawn {
			return nil, errors.New("the call was withdrawn")
		}
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { f.depart() }})
	}
	r := req.Clone(ctx)
	// Without it the transport can't send the body again.
	r.GetBody = nil
	for name, values := range c.at.header {
		r.Header[name] = values
	}
	if c.at.host != "" {
		r.Host = c.at.host
	}
	if v := c.version.Load(); v != nil && r.Header.Get("Mcp-Protocol-Version") == "" {
		r.Header.Set("Mcp-Protocol-Version", *v)
	}
	id := r.Header.Get("Mcp-Session-Id")
	if id != "" {
		c.id.Store(&id)
	}
	resp, err := c.transport.RoundTrip(r)
	if err != nil {
		c.trouble.Store(&err)
		return nil, err
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	c.answered(resp.StatusCode, kind)
	// What GET is answered with tells of the rest of a stream: the call itself has
	// been taken before, and may have run.
	if f != nil && r.Method == http.MethodPost {
		f.noSession.Store(resp.StatusCode == http.StatusNotFound && id != "")
		f.status.Store(int32(resp.StatusCode))
	}
	if kind != "text/event-stream" {
		resp.Body = &limited{ReadCloser: resp.Body, left: maxFrame}
	}
	return resp, nil
}

// answered takes note of what is wrong with an answer by its head alone.
func (c *courier) answered(status int, kind string) {
	var err error
	switch {
	case status < 200 || status > 299:
		err = errors.New(refused(status))
	case status == http.StatusOK && kind != "text/event-stream" && kind != "application/json":
		err = fmt.Errorf("it answers with %s, which is no MCP: is the path of the url right?", cmp.Or(kind, "no content type"))
	default:
		c.trouble.Store(nil)
		return
	}
	c.trouble.Store(&err)
}

// withoutID is an error without the session's id, which the SDK likes to name.
func (c *courier) withoutID(err error) error {
	id := c.id.Load()
	if id == nil || !strings.Contains(err.Error(), *id) {
		return err
	}
	text := strings.ReplaceAll(err.Error(), " (session ID: "+*id+")", "")
	return errors.New(strings.ReplaceAll(text, *id, "…"))
}

// A limited body fails where it is longer than it may be.
type limited struct {
	io.ReadCloser
	left int
}

// Read reads what is left.
func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, fmt.Errorf("the answer has more than %d bytes", maxFrame)
	}
	n, err := l.ReadCloser.Read(p[:min(len(p), l.left+1)])
	if l.left -= n; l.left < 0 {
		return 0, fmt.Errorf("the answer has more than %d bytes", maxFrame)
	}
	return n, err
}

// refused is the text of an answer whose status is not 2xx.
func refused(status int) string {
	text := fmt.Sprintf("HTTP %d %s", status, http.StatusText(status))
	if status >= 300 && status < 400 {
		text += " (redirects are not followed)"
	}
	return text
}

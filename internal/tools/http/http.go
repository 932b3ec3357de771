package http

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// Config is a manifest's handler.http.
type Config struct {
	// URL receives the POST.
	URL string `yaml:"url"`
	// Headers are sent with every call.
	Headers map[string]string `yaml:"headers"`
	// HeaderEnv maps a header to the variable of the worker's environment that
	// holds its value.
	HeaderEnv map[string]string `yaml:"header_env"`
}

//go:embed schema.json
var schema string

// Schema is the form of what manifests may say of a Config; see [tools.Config].
func (Config) Schema() string { return schema }

// A handler posts each call to one URL. All its fields but misfits are immutable after
// New.
type handler struct {
	url       string // without user and password
	host      string // of the Host header; empty means the URL's
	header    http.Header
	transport *http.Transport
	max       int
	log       *slog.Logger
	misfits   content.Misfits
}

// New makes the handler that posts a call to a URL. It checks all that can
// be checked without a request: the URL is one of http or https, the headers can
// be sent and are not those that tell about the call, and each variable of
// HeaderEnv is set. What it returns is an io.Closer too: Close drops the idle
// connections, and may be called when no new call will come.
func New(cfg Config, common tools.Common) (tools.Handler, error) {
	t, err := TargetOf(cfg, common)
	if err != nil {
		return nil, err
	}
	return &handler{
		url:       t.URL,
		host:      t.Host,
		header:    t.Header,
		transport: NewTransport(),
		max:       common.MaxResultBytes,
		log:       common.Logger(),
	}, nil
}

// NewTransport is Go's default transport but for its idle connections: the
// default keeps two a host, and calls come in dozens. They are dropped sooner
// too, because a server that closes one just as it is used again costs a call
// whose outcome is unknown.
func NewTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns = 0
	t.MaxIdleConnsPerHost = 64
	t.IdleConnTimeout = 30 * time.Second
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		proxy, err := http.ProxyFromEnvironment(r)
		if err != nil {
			// The cause quotes the proxy's URL, password and all.
			return nil, errors.New("the proxy in HTTP_PROXY or HTTPS_PROXY is not a valid URL")
		}
		return proxy, nil
	}
	return t
}

// Close drops the connections that wait to be used again.
func (h *handler) Close() error {
	h.transport.CloseIdleConnections()
	return nil
}

// Call posts the call once. It goes to the transport and not through an
// http.Client, so that nothing follows a redirect, and its body can't be had
// twice (GetBody is nil), so that the transport repeats nothing either: with an
// Idempotency-Key it would after a reset.
func (h *handler) Call(ctx context.Context, call tools.Call) (tools.Result, error) {
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	req, err := h.request(traced, call)
	if err != nil {
		return tools.Result{}, &tools.UnavailableError{Err: err}
	}
	resp, err := h.transport.RoundTrip(req)
	if err != nil {
		return tools.Result{}, h.failure(ctx, err, sent.Load())
	}
	defer resp.Body.Close()
	body := content.NewCollector(h.max)
	_, err = io.Copy(body, resp.Body)
	if err != nil && ctx.Err() != nil {
		return tools.Result{}, h.failure(ctx, err, true)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return h.refusal(resp, body, err), nil
	}
	if err != nil {
		return tools.Result{}, h.failure(ctx, fmt.Errorf("the answer broke off after %d bytes: %w", body.Total, err), true)
	}
	result := body.Result(false)
	h.misfits.Tell(ctx, h.log.With("tool", call.Tool), body.Misfit())
	return result, nil
}

func (h *handler) request(ctx context.Context, call tools.Call) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(call.Input))
	if err != nil {
		return nil, err
	}
	req.GetBody = nil
	if h.host != "" {
		req.Host = h.host
	}
	req.Header = h.header.Clone()
	req.Header.Set("Content-Type", "application/json")
	tools.Describe(call, req.Header.Set)
	// The span of ctx, where there is one, is told here as traceparent.
	return req, nil
}

// failure says of an error whether the call may have run. The headers go out
// before the body: without them no server runs anything.
func (h *handler) failure(ctx context.Context, err error, sent bool) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if sent {
		return &tools.LostError{Err: err}
	}
	return &tools.UnavailableError{Err: err}
}

// refusal is the result of a status that is not 2xx.
func (h *handler) refusal(resp *http.Response, body *content.Collector, broken error) tools.Result {
	status := fmt.Sprintf("HTTP %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		status += " (redirects are not followed)"
	}
	if broken != nil {
		status += " (the body broke off)"
	}
	r := content.Error(body.Under(status + "\n"))
	r.Cause = status
	return r
}

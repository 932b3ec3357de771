package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/anthropics/anthropic-sdk-go/v2"
	"github.com/anthropics/anthropic-sdk-go/v2/option"
	"github.com/tidwall/gjson"
)

// Beta is the version of the API that this package speaks, as its anthropic-beta
// header names it.
const Beta = "managed-agents-2026-04-01"

// Credential is what requests are signed with. The zero value leaves it to the
// official SDK, which looks in the environment and its profiles. At most one
// field is set, so that never two credentials are on the wire.
type Credential struct {
	APIKey    string
	AuthToken string
}

// String hides the credential.
func (Credential) String() string { return "[redacted]" }

// GoString hides the credential from %#v too.
func (Credential) GoString() string { return "[redacted]" }

// LogValue hides the credential from logs.
func (Credential) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Options are the settings of a [Client]. Durations of zero mean the default
// that the field names.
type Options struct {
	BaseURL           string // empty: https://api.anthropic.com
	Credential        Credential
	WorkspaceID       string        // empty: the credential's own
	RequestsPerMinute int           // of this process; 0: no limit of our own
	RequestTimeout    time.Duration // 30s; one list or get, body included; a stream until its headers
	SendTimeout       time.Duration // 15s; one attempt to send
	UserAgent         string        // empty: the SDK's
	Log               *slog.Logger  // nil: discards
	// Transport carries all requests; nil means one of our own for streams and
	// one for the rest.
	Transport http.RoundTripper
}

// Client talks to the API for all sessions of a process. It is safe for use by
// many goroutines.
type Client struct {
	sdk      atomic.Pointer[anthropic.Client]
	opts     Options // immutable after New
	budget   *Budget
	gate     *gate
	streams  *http.Client
	requests *http.Client
	counts   counts
	accepted atomic.Int64 // sends
}

type counts struct{ streams, lists, gets, sends atomic.Int64 }

// Counts is how many requests were made, retries included.
type Counts struct{ Streams, Lists, Gets, Sends int64 }

// New makes a client. It makes no request.
func New(opts Options) (*Client, error) {
	if opts.RequestTimeout <= 0 {
		opts.RequestTimeout = 30 * time.Second
	}
	if opts.SendTimeout <= 0 {
		opts.SendTimeout = 15 * time.Second
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.BaseURL != "" {
		u, err := url.Parse(opts.BaseURL)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, fmt.Errorf("upstream.base_url %q is not an http or https URL", opts.BaseURL)
		}
	}
	c := &Client{opts: opts, budget: NewBudget(opts.RequestsPerMinute), gate: &gate{log: opts.Log}}
	c.streams, c.requests = httpClients(opts.Transport)
	c.Renew(opts.Credential)
	return c, nil
}

// Renew changes the credential. Requests under way keep the old one; a gate that
// the old one closed opens.
func (c *Client) Renew(cred Credential) {
	var opts []option.RequestOption
	switch {
	case cred.APIKey != "":
		opts = append(opts, option.WithoutEnvironmentDefaults(), option.WithAPIKey(cred.APIKey))
	case cred.AuthToken != "":
		opts = append(opts, option.WithoutEnvironmentDefaults(), option.WithAuthToken(cred.AuthToken))
	}
	if c.opts.BaseURL != "" {
		opts = append(opts, option.WithBaseURL(c.opts.BaseURL))
	}
	if c.opts.WorkspaceID != "" {
		opts = append(opts, option.WithHeader("anthropic-workspace-id", c.opts.WorkspaceID))
	}
	if c.opts.UserAgent != "" {
		opts = append(opts, option.WithHeader("User-Agent", c.opts.UserAgent))
	}
	// A stream that is compressed may be held back by the compressor.
	opts = append(opts, option.WithHeader("Accept-Encoding", "identity"))
	opts = append(opts, option.WithHeader("anthropic-beta", Beta), option.WithHTTPClient(c.requests))
	sdk := anthropic.NewClient(opts...)
	c.sdk.Store(&sdk)
	c.gate.renew()
}

// RefusedSince returns since when the API refuses the credential, or zero.
func (c *Client) RefusedSince() time.Time { return c.gate.refusedSince() }

// Counts returns how many requests were made so far.
func (c *Client) Counts() Counts {
	return Counts{c.counts.streams.Load(), c.counts.lists.Load(), c.counts.gets.Load(), c.counts.sends.Load()}
}

// Close drops idle connections.
func (c *Client) Close() {
	c.streams.CloseIdleConnections()
	c.requests.CloseIdleConnections()
}

func sessionPath(session, rest string) string {
	return "v1/sessions/" + url.PathEscape(session) + rest
}

// enter waits at the gate.
func (c *Client) enter(ctx context.Context, op string) error {
	if err := c.gate.enter(ctx); err != nil {
		return &Error{Op: op, Err: err, kind: KindCredential}
	}
	return nil
}

// do makes one request and returns a 2xx response, its body unread. Any other
// outcome is an [*Error]. ctx bounds the request and the reading of its body; its
// clock starts behind the gate, which the caller has entered: else a request
// could be let through as the probe with no time left to make it.
func (c *Client) do(ctx context.Context, op string, count *atomic.Int64, method, path string, body any, opts ...option.RequestOption) (*http.Response, error) {
	era := c.gate.current()
	var connected atomic.Bool
	var written atomic.Int64
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// net/http tries another connection by itself where the first one was
		// closed before anything was written.
		GetConn: func(string) { connected.Store(false) },
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
		// A send counts when it is written; of the others the first was counted by
		// its wait, and each further attempt counts here.
		WroteHeaders: func() {
			if written.Add(1) > 1 || op == "send" {
				c.budget.Take()
			}
		},
	})
	// res and raw differ: res is set for an error status too, raw never closes
	// over a body that the SDK has read.
	var res, raw *http.Response
	opts = append(opts, option.WithResponseInto(&res), option.WithMiddleware(c.counted(count)))
	err := c.sdk.Load().Execute(ctx, method, path, body, &raw, opts...)
	if res == nil && err == nil {
		err = errors.New("no response")
	}
	if err == nil && res.StatusCode/100 == 2 {
		if err := encodingError(res); err != nil {
			res.Body.Close()
			return nil, &Error{Op: op, Status: res.StatusCode, Err: err}
		}
		kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
		c.gate.note(res.StatusCode, kind == "application/json" || kind == "text/event-stream", era)
		return res, nil
	}
	e := c.failure(ctx, op, res, err, connected.Load())
	c.gate.note(e.Status, e.Type != "", era)
	return nil, e
}

// counted counts each attempt, and undoes an encoding of its answer.
func (c *Client) counted(count *atomic.Int64) option.Middleware {
	return func(req *http.Request, next option.MiddlewareNext) (*http.Response, error) {
		count.Add(1)
		res, err := next(req)
		if res != nil {
			decodeBody(res)
		}
		if res != nil && retryAfter(res.Header, time.Now()) > maxInnerWait {
			// The SDK would sleep it off inside our wall clock, and what the API
			// said would be lost to a timeout.
			res.Header.Set("X-Should-Retry", "false")
		}
		return res, err
	}
}

// maxInnerWait is the longest wait between two attempts of one read; the API may
// ask for more, and then the caller waits.
const maxInnerWait = 2 * time.Second

// maxErrorCode bounds what is shown of an error's code, in bytes.
const maxErrorCode = 64

// failure makes the error of a request that got no 2xx response.
func (c *Client) failure(ctx context.Context, op string, res *http.Response, err error, connected bool) *Error {
	e := &Error{Op: op}
	cause := context.Cause(ctx)
	if res == nil || cause != nil {
		e.Err = cleaned(err)
		if cause != nil {
			e.Err = cause
		}
		if !connected {
			e.kind = KindRetry // nothing was sent, so nothing was accepted
		}
		return e
	}
	e.Status = res.StatusCode
	e.RetryAfter = retryAfter(res.Header, time.Now())
	var apiErr *anthropic.Error
	if errors.As(err, &apiErr) {
		body := apiErr.RawJSON()
		if gjson.Get(body, "type").String() == "error" {
			e.Type = gjson.Get(body, "error.type").String()
			e.Code = shorten(gjson.Get(body, "error.details.error_code").String(), maxErrorCode)
		}
		e.Message = shorten(gjson.Get(body, "error.message").String(), maxEventError)
	}
	if res.StatusCode/100 == 3 {
		res.Body.Close()
		e.Message = "redirects are not followed"
	}
	return e
}

// cleaned strips the method and URL that net/http puts before a cause.
func cleaned(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// readAll reads a response's body up to a bound and closes it.
func readAll(ctx context.Context, op string, res *http.Response, bound int64) ([]byte, error) {
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, bound+1))
	switch {
	case context.Cause(ctx) != nil:
		return nil, &Error{Op: op, Err: context.Cause(ctx)}
	case err != nil:
		return nil, &Error{Op: op, Status: res.StatusCode, Err: fmt.Errorf("its body broke off: %w", err)}
	case int64(len(body)) > bound:
		return nil, &Error{Op: op, Status: res.StatusCode, Err: fmt.Errorf("%w: over %d bytes", errTooLarge, bound)}
	case !gjson.ValidBytes(body) || !strings.HasPrefix(strings.TrimLeft(string(body[:min(len(body), 64)]), " \t\r\n"), "{"):
		return nil, &Error{Op: op, Status: res.StatusCode, Err: fmt.Errorf("its body is not a JSON object (%s)", res.Header.Get("Content-Type"))}
	}
	return body, nil
}

var errTooLarge = errors.New("its body is too large")

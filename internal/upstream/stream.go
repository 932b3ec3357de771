package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/anthropics/anthropic-sdk-go/v2/option"
)

// ErrSilent is how a stream ends that gave no byte for its bound.
var ErrSilent = errors.New("the stream gave no byte")

// Stream is a session's open event stream. Next is called by one goroutine at a
// time; Close by any.
type Stream struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	body   io.ReadCloser
	frames *frames
	idle   time.Duration
	timer  *time.Timer // ends the stream when it is silent for idle
	opened time.Time
	last   atomic.Int64 // when the last byte came, in nanoseconds since opened
	bytes  atomic.Int64
}

// Stream opens a session's event stream. There is no replay: it gives only what
// happens from now on. Opening is bounded by request_timeout; a stream that
// gives no byte for idle ends with [ErrSilent]. It ends with ctx.
//
// Its turn in the budget is that of two requests: the first read of the history
// that follows an opening goes at once, with [Query.Counted]. Else all streams would
// be open before any history is read.
func (c *Client) Stream(ctx context.Context, session string, idle time.Duration, urgent bool) (*Stream, error) {
	if err := c.budget.Wait(ctx, 2, urgent); err != nil {
		return nil, &Error{Op: "stream", Err: err}
	}
	if err := c.enter(ctx, "stream"); err != nil {
		c.budget.giveBack(2)
		return nil, err
	}
	st, err := c.open(ctx, session, idle)
	if err != nil {
		c.budget.giveBack(1)
	}
	return st, err
}

// open makes the request for a stream.
func (c *Client) open(ctx context.Context, session string, idle time.Duration) (*Stream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	opening := time.AfterFunc(c.opts.RequestTimeout, func() { cancel(timeoutError("stream", c.opts.RequestTimeout)) })
	res, err := c.do(ctx, "stream", &c.counts.streams, http.MethodGet, sessionPath(session, "/events/stream?beta=true"), nil,
		option.WithHeader("Accept", "text/event-stream"), option.WithMaxRetries(0), option.WithHTTPClient(c.streams))
	if !opening.Stop() && err == nil {
		res.Body.Close()
		err = &Error{Op: "stream", Err: context.Cause(ctx)}
	}
	if err != nil {
		cancel(nil)
		return nil, err
	}
	if media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); media != "text/event-stream" {
		res.Body.Close()
		cancel(nil)
		return nil, &Error{Op: "stream", Status: res.StatusCode,
			Err: fmt.Errorf("its content type is %q, not text/event-stream", res.Header.Get("Content-Type"))}
	}
	s := &Stream{ctx: ctx, cancel: cancel, body: res.Body, idle: idle, opened: time.Now()}
	s.timer = time.AfterFunc(idle, s.silence)
	s.frames = newFrames(s)
	return s, nil
}

// silence ends the stream if no byte has come for its bound, else looks again
// when that may be so. Reads only note the time, which costs less than moving a
// timer.
func (s *Stream) silence() {
	if rest := s.idle - time.Since(s.LastByte()); rest > 0 {
		s.timer.Reset(rest)
		return
	}
	s.cancel(fmt.Errorf("%w for %s", ErrSilent, s.idle))
}

// Read notes that bytes came; it is the source of Next, not for callers.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	if n > 0 {
		s.last.Store(int64(time.Since(s.opened)))
		s.bytes.Add(int64(n))
	}
	return n, err
}

// LastByte is when the stream last gave a byte, or was opened.
func (s *Stream) LastByte() time.Time { return s.opened.Add(time.Duration(s.last.Load())) }

// Bytes is how many bytes the stream gave.
func (s *Stream) Bytes() int64 { return s.bytes.Load() }

// Next waits for the next event. Its error is io.EOF where the API ended the
// stream, ctx's cause where we did, or why the connection broke.
func (s *Stream) Next() (Event, error) {
	data, whole, err := s.frames.next()
	if err != nil {
		if cause := context.Cause(s.ctx); cause != nil {
			return Event{}, cause
		}
		return Event{}, err
	}
	if !whole {
		return Event{Type: TypeUndecodable}, nil
	}
	return decode(data), nil
}

// Close ends the stream.
func (s *Stream) Close() {
	s.timer.Stop()
	s.cancel(context.Canceled)
	s.body.Close()
}

package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxBehind is how many frames a client may be behind before its stream is cut:
// what a client that reads nothing costs is bounded.
const maxBehind = 100_000

// frame is one frame of a stream: an event, or raw bytes.
type frame struct {
	typ  string
	data json.RawMessage
	raw  []byte // in place of typ and data
}

// cutMode is how a stream ends.
type cutMode int

const (
	cutNot   cutMode = iota
	cutClean         // end of file
	cutReset         // the connection is broken off
)

// subscriber is one open stream.
type subscriber struct {
	wake chan struct{} // holds one

	mu    sync.Mutex
	queue []frame
	ended cutMode
}

func newSubscriber() *subscriber { return &subscriber{wake: make(chan struct{}, 1)} }

func (s *subscriber) push(f frame) {
	s.mu.Lock()
	s.queue = append(s.queue, f)
	if len(s.queue) > maxBehind {
		s.queue, s.ended = nil, cutReset
	}
	s.mu.Unlock()
	s.nudge()
}

func (s *subscriber) cut(mode cutMode) {
	s.mu.Lock()
	s.ended = mode
	s.mu.Unlock()
	s.nudge()
}

func (s *subscriber) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *subscriber) take() ([]frame, cutMode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	frames := s.queue
	s.queue = nil
	return frames, s.ended
}

// bytes renders the frame. Line ends within the JSON become lines of their own.
func (f frame) bytes() []byte {
	if f.raw != nil {
		return f.raw
	}
	var b bytes.Buffer
	b.Grow(len(f.data) + len(f.typ) + 24)
	b.WriteString("event: " + f.typ + "\n")
	for line := range bytes.SplitSeq(f.data, []byte("\n")) {
		b.WriteString("data: ")
		b.Write(line)
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// ping is the heartbeat.
func ping() frame { return frame{typ: "ping", data: json.RawMessage(`{"type": "ping"}`)} }

// serveStream answers with the session's events from now on, until the client
// leaves. It writes one frame a Write, which the faults rely on.
func (s *Session) serveStream(w http.ResponseWriter, r *http.Request) *apiError {
	if err := checkQuery(r.URL.Query(), "event_deltas[]"); err != nil {
		return err
	}
	sub := newSubscriber()
	s.mu.Lock()
	s.streams[sub] = struct{}{}
	s.wake()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.streams, sub)
		s.wake()
		s.mu.Unlock()
	}()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	if flush(w) != nil {
		return nil
	}
	s.follow(w, r, sub)
	return nil
}

// follow writes frames until the stream ends.
func (s *Session) follow(w http.ResponseWriter, r *http.Request, sub *subscriber) {
	var beat <-chan time.Time
	if every := s.srv.opts.Heartbeat; every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		beat = ticker.C
	}
	for {
		var frames []frame
		var ended cutMode
		select {
		case <-r.Context().Done():
			return
		case <-s.srv.done:
			frames, _ = sub.take() // what was told before the end
			ended = cutClean
		case <-beat:
			frames = []frame{ping()}
		case <-sub.wake:
			frames, ended = sub.take()
		}
		for _, f := range frames {
			if _, err := w.Write(f.bytes()); err != nil {
				return
			}
		}
		if flush(w) != nil {
			return
		}
		switch ended {
		case cutClean:
			return
		case cutReset:
			breakOff(w)
			return
		}
	}
}

// flush sends what was written. A writer that can't is a plain buffer, as in
// httptest.ResponseRecorder.
func flush(w http.ResponseWriter) error {
	err := http.NewResponseController(w).Flush()
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// breakOff resets the connection: an RST over TCP, a close over a pipe, an
// RST_STREAM over HTTP/2.
func breakOff(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // a plain close does too where it can't be set
	}
	_ = conn.Close() // nothing to do about it
}

// CutStreams ends the session's open streams, with an end of file or a reset.
func (s *Session) CutStreams(reset bool) {
	mode := cutClean
	if reset {
		mode = cutReset
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := range s.streams {
		sub.cut(mode)
	}
}

// WriteRaw writes bytes to the session's open streams, between two events.
func (s *Session) WriteRaw(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := range s.streams {
		sub.push(frame{raw: data})
	}
}

package loop

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"toolhand/internal/upstream"
)

const (
	// healthyAfter is how long a stream lives before the backoff begins anew.
	healthyAfter = 5 * time.Second
	// maxSilence is the longest silence that a stream is allowed.
	maxSilence = 10 * time.Minute
	// warnFails is how many tries in a row fail before it is worth a warning.
	warnFails = 3
	// toldAway is for how long a stream is away before its return is worth a line.
	toldAway = time.Second
)

// streamState is what others may know of the stream.
type streamState struct {
	open     atomic.Pointer[upstream.Stream]
	opened   atomic.Int64           // how often it was opened
	refused  atomic.Bool            // the session is forbidden, for now
	attached atomic.Bool            // the first read of the history has ended
	counted  atomic.Bool            // the budget has let the next read of the history through
	lost     time.Time              // when it was lost last; owned by follow
	lastErr  atomic.Pointer[string] // why something of it failed last; nil since it went well
}

// follow keeps the event stream open until ctx ends or the session is gone. Each
// opening is followed by a read of the history, since nothing is replayed.
func (s *Session) follow(ctx context.Context) {
	wait := newBackoff()
	idle := s.cfg.StreamIdle
	silent, fails := 0, 0
	for ctx.Err() == nil {
		begun := time.Now()
		came, err := s.followOnce(ctx, idle)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errGone) {
			return
		}
		if time.Since(begun) > healthyAfter && came != notOpened {
			wait.Reset()
			fails = 0
		}
		fails++
		// Twice silent from its first byte on: the heartbeat is slower than we
		// think.
		if errors.Is(err, upstream.ErrSilent) && came == openedSilent {
			if silent++; silent >= 2 {
				idle = min(2*idle, max(maxSilence, s.cfg.StreamIdle))
			}
		} else if came == openedWithBytes {
			silent = 0
		}
		d := max(wait.NextBackOff(), upstream.RetryAfter(err))
		if upstream.KindOf(err) == upstream.KindForbidden {
			d = forbiddenWait
		}
		s.logLoss(err, fails, d)
		sleep(ctx, d)
	}
}

// logLoss tells of a lost stream. One that comes back soon is normal; of a
// refused credential the client has told already, once for all sessions.
func (s *Session) logLoss(err error, fails int, wait time.Duration) {
	s.failed(err)
	args := []any{"error", errText(err), "fails", fails, "wait", wait.Round(time.Millisecond).String()}
	refused := upstream.KindOf(err) == upstream.KindCredential
	if !refused && (fails == warnFails || fails > warnFails && fails%20 == 0) {
		s.cfg.Log.Warn("the event stream can't be kept open; trying on", args...)
	} else {
		s.cfg.Log.Debug("the event stream ended; opening it again", args...)
	}
}

// failed notes why the session can't be followed, or that it can: nil.
func (s *Session) failed(err error) {
	if err == nil {
		s.stream.lastErr.Store(nil)
		return
	}
	text := err.Error()
	s.stream.lastErr.Store(&text)
}

// streamEnd is what the opening of a stream came to.
type streamEnd int

const (
	notOpened    streamEnd = iota
	openedSilent           // not one byte came
	openedWithBytes
)

var errGone = errors.New("the session is gone")

// followOnce opens the stream and hands on its events until it ends.
func (s *Session) followOnce(ctx context.Context, idle time.Duration) (streamEnd, error) {
	st, err := s.cfg.Client.Stream(ctx, s.cfg.Session, idle, s.urgent.Load())
	if err != nil {
		switch upstream.KindOf(err) {
		case upstream.KindGone:
			s.post(gone{err.Error()})
			return notOpened, errGone
		case upstream.KindForbidden:
			if !s.stream.refused.Swap(true) {
				s.cfg.Log.Error("the API forbids this session (403); trying again now and then", "error", err)
			}
			s.post(forbidden{})
		}
		return notOpened, err
	}
	defer st.Close()
	s.stream.refused.Store(false)
	s.stream.counted.Store(true)
	s.stream.open.Store(st)
	defer func() { s.stream.open.Store(nil); s.stream.lost = time.Now() }()
	if s.stream.opened.Add(1) > 1 {
		// That a stream is cut now and then, and is back at once, is worth no line.
		level, away := slog.LevelDebug, time.Since(s.stream.lost)
		if away > toldAway {
			level = slog.LevelInfo
		}
		s.cfg.Log.Log(ctx, level, "reconnected: the event stream is open again", "away_ms", away.Milliseconds())
	}
	s.post(attached{})
	for {
		e, err := st.Next()
		if err != nil {
			if st.Bytes() == 0 {
				return openedSilent, err
			}
			return openedWithBytes, err
		}
		if s.cfg.Live != nil && !e.ProcessedAt.IsZero() {
			s.cfg.Live(e.ProcessedAt)
		}
		s.post(received{e})
	}
}

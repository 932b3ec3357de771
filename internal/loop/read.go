package loop

import (
	"context"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"

	"toolhand/internal/upstream"
)

// pageSize is how many events a page of the history holds. It is small because
// results in it can be huge; it is halved where even so it takes too long.
const pageSize = 100

// historyTypes are the events that a read asks for. session.deleted is no value
// of the API's filter, and would be refused.
var historyTypes = []string{
	upstream.TypeCall, upstream.TypeResult, upstream.TypeInterrupt, upstream.TypeConfirmation,
	upstream.TypeIdle, upstream.TypeRunning, upstream.TypeRescheduled, upstream.TypeTerminated,
	upstream.TypeSessionError, upstream.TypeThreadCreated, upstream.TypeThreadIdle, upstream.TypeThreadRunning, upstream.TypeThreadTerminated,
}

// readHistory reads until it succeeds, the session is gone, or it is not served
// any more. What it has read before an error it keeps.
func (s *Session) readHistory(r readHistory) {
	rd := newReader(r.open)
	in := history{seq: r.seq}
	ok := s.retry("history can't be read; trying again", func(ctx context.Context) error {
		if r.session && in.session == nil {
			session, err := s.cfg.Client.Get(ctx, s.cfg.Session, true)
			if err != nil {
				return err
			}
			in.session = &session
		}
		return s.readPages(ctx, rd)
	})
	if ok {
		slices.Reverse(rd.events)
		in.events, in.complete = rd.events, rd.complete
		if s.post(in); !s.stream.attached.Swap(true) {
			s.cfg.Log.Info("session attached")
		}
	}
}

// reader collects a history, newest first.
type reader struct {
	open     map[string]bool // calls that must be seen before it may end; true: seen
	unseen   int
	events   []upstream.Event
	page     string
	limit    int
	behind   bool // an ended turn was passed
	complete bool // the log's beginning was reached
}

func newReader(open []string) *reader {
	rd := &reader{open: make(map[string]bool, len(open)), unseen: len(open), limit: pageSize}
	for _, id := range open {
		rd.open[id] = false
	}
	return rd
}

// readPages reads on until the reader has seen enough.
func (s *Session) readPages(ctx context.Context, rd *reader) error {
	for {
		page, err := s.cfg.Client.List(ctx, s.cfg.Session,
			upstream.Query{Types: historyTypes, Limit: rd.limit, Page: rd.page, Counted: s.stream.counted.Swap(false)}, s.urgent.Load())
		if err != nil {
			rd.failed(err)
			return err
		}
		if rd.take(page) {
			return nil
		}
	}
}

// take adds a page and reports whether nothing older matters: an ended turn lies
// there, and every open call was seen.
func (rd *reader) take(p upstream.Page) bool {
	for i, e := range p.Events {
		seen, ours := rd.open[e.ID]
		if e.Type == upstream.TypeCall && rd.behind && !ours {
			continue // what an ended turn left open is not to be run
		}
		rd.events = append(rd.events, e)
		if e.Type == upstream.TypeCall && ours && !seen {
			rd.open[e.ID] = true
			rd.unseen--
		}
		if e.Type == upstream.TypeIdle && e.StopReason != upstream.StopRequiresAction {
			rd.behind = true
		}
		if rd.behind && rd.unseen == 0 {
			if rest := p.Events[i+1:]; len(rest) > 0 && rest[0].Type == upstream.TypeSessionError {
				rd.events = append(rd.events, rest[0]) // why the turn ended
			}
			return true
		}
	}
	rd.page = p.Next
	rd.complete = p.Next == ""
	return rd.complete
}

// failed prepares the next try: a page that took too long is asked for smaller,
// a cursor that is refused is begun anew.
func (rd *reader) failed(err error) {
	switch {
	case upstream.Timeout(err) || upstream.TooLarge(err):
		rd.limit = max(1, rd.limit/2)
	case upstream.KindOf(err) == upstream.KindRefused && rd.page != "":
		open := make([]string, 0, len(rd.open))
		for id := range rd.open {
			open = append(open, id)
		}
		limit := rd.limit
		*rd = *newReader(open)
		rd.limit = limit
	}
}

// findPrimary reads which thread the log's first thread status is of.
func (s *Session) findPrimary() {
	var in primary
	ok := s.retry("threads can't be read; trying again", func(ctx context.Context) error {
		page, err := s.cfg.Client.List(ctx, s.cfg.Session, upstream.Query{
			Types:  []string{upstream.TypeThreadRunning, upstream.TypeThreadIdle, upstream.TypeThreadTerminated},
			Limit:  1,
			Oldest: true,
		}, true)
		if err == nil && len(page.Events) > 0 {
			in.thread = page.Events[0].Thread
		}
		return err
	})
	if ok {
		s.post(in)
	}
}

// retry does a read until it succeeds. It reports false where the session is
// gone, or not served any more.
func (s *Session) retry(text string, read func(context.Context) error) bool {
	wait := newBackoff()
	for fails := 0; ; fails++ {
		err := read(s.ctx)
		if s.failed(err); err == nil {
			return true
		}
		if s.ctx.Err() != nil {
			return false
		}
		d := max(wait.NextBackOff(), upstream.RetryAfter(err))
		switch upstream.KindOf(err) {
		case upstream.KindGone:
			s.post(gone{err.Error()})
			return false
		case upstream.KindForbidden:
			s.post(forbidden{})
			d = forbiddenWait
		}
		if (fails == 0 || fails%10 == 0) && upstream.KindOf(err) != upstream.KindCredential {
			s.cfg.Log.Warn(text, "error", err, "fails", fails+1, "wait", d.Round(time.Millisecond).String())
		}
		if !sleep(s.ctx, d) {
			return false
		}
	}
}

// newBackoff is the wait between tries to read or to open a stream: 0.5 s to
// 10 s, spread so that a fleet does not come back all at once.
func newBackoff() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(500*time.Millisecond), backoff.WithMaxInterval(10*time.Second),
		backoff.WithMultiplier(2), backoff.WithMaxElapsedTime(0))
}

// sleep waits for d, and reports whether ctx did not end before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

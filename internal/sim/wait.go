package sim

import (
	"context"
	"fmt"
	"strings"
)

// wait returns once ok does, which is called with the session locked. what
// names the wait in the error.
func (s *Session) wait(ctx context.Context, what func() string, ok func() bool) error {
	for {
		s.mu.Lock()
		if ok() {
			s.mu.Unlock()
			return nil
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			return fmt.Errorf("session %s: waiting for %s: %w", s.id, what(), context.Cause(ctx))
		}
	}
}

// WaitStreams waits until exactly n streams of the session are open.
func (s *Session) WaitStreams(ctx context.Context, n int) error {
	return s.wait(ctx,
		func() string { return fmt.Sprintf("%d open streams (now %d)", n, len(s.streams)) },
		func() bool { return len(s.streams) == n })
}

// WaitAnswered waits until the results of these calls are processed, or an
// interrupt or the end of their session or thread has made them pointless. No
// ids means all calls that are open when it is called.
func (s *Session) WaitAnswered(ctx context.Context, ids ...string) error {
	s.mu.Lock()
	if len(ids) == 0 {
		ids = s.openLocked(nil)
	}
	s.mu.Unlock()
	open := func() []string {
		var left []string
		for _, id := range ids {
			if c := s.calls[id]; c == nil || c.pending() {
				left = append(left, id)
			}
		}
		return left
	}
	return s.wait(ctx,
		func() string { return "results of " + strings.Join(open(), ", ") },
		func() bool { return s.over() || len(open()) == 0 })
}

// WaitMessage waits until n messages of users are in the history.
func (s *Session) WaitMessage(ctx context.Context, n int) error {
	count := func() int { return len(s.log.byType["user.message"]) }
	return s.wait(ctx,
		func() string { return fmt.Sprintf("message %d of a user", n) },
		func() bool { return s.over() || count() >= n })
}

// over reports whether the session has ended.
func (s *Session) over() bool { return s.deleted || s.status == "terminated" }

// Streams returns how many streams of the session are open.
func (s *Session) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

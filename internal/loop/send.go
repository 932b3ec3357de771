package loop

import (
	"context"
	"errors"

	"toolhand/internal/upstream"
)

// sendBatch makes one attempt to send a batch. The ledger decides what its
// outcome means; at most one is under way. Where the session is over meanwhile,
// the attempt has sendGrace to tell whether the calls were answered.
func (s *Session) sendBatch(answers []upstream.Answer) {
	ctx, cancel := context.WithCancelCause(s.lasting)
	defer cancel(nil)
	stop := context.AfterFunc(s.ctx, func() {
		if errors.Is(context.Cause(s.ctx), errOver) {
			sleep(ctx, sendGrace)
		}
		cancel(context.Cause(s.ctx))
	})
	defer stop()
	err := s.cfg.Client.Send(ctx, s.cfg.Session, answers)
	s.post(sent{err: err, passed: s.cfg.Client.Accepted()})
}

package loop

import "toolhand/internal/upstream"

// sendBatch makes one attempt to send a batch. The ledger decides what its
// outcome means; at most one is under way.
func (s *Session) sendBatch(answers []upstream.Answer) {
	err := s.send(s.ctx, answers)
	s.post(sent{err})
}

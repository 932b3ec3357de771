package queue

import "time"

// LookEvery has results looked for more often than in life.
func (q *Queue) LookEvery(d time.Duration) { q.look = d }

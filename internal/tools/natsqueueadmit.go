package tools

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// maxAdmitted bounds how many results are checked and passed on at once; further ones
// wait, and who published them tries again.
const maxAdmitted = 64

// Admit checks what others publish as results, until nc is closed: it arrives on
// subjects that begin with prefix, and only what carries the id of its job gets into
// the stream, which confirms it. So nobody can put another message in the place of a
// result. nc must be the connection of the queue.
func (q *Queue) Admit(nc *nats.Conn, prefix string) error {
	room := make(chan struct{}, maxAdmitted)
	_, err := nc.Subscribe(prefix+"*", func(m *nats.Msg) {
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			return
		}
		q.wg.Add(1)
		q.mu.Unlock()
		room <- struct{}{} // held for queueTimeout at most
		go func() {
			defer q.wg.Done()
			defer func() { <-room }()
			q.admit(nc, strings.TrimPrefix(m.Subject, prefix), m)
		}()
	})
	return err
}

// admit passes a result of the call on, and back what the stream says to it. Who
// hears nothing tries again.
func (q *Queue) admit(nc *nats.Conn, token string, m *nats.Msg) {
	ctx, cancel := context.WithTimeout(context.Background(), queueTimeout)
	defer cancel()
	if why := q.admits(ctx, nc, token, m); why != nil {
		q.opts.Log.Warn("a result is refused", "call", token, "error", why)
		_ = m.Respond(why.answer())
		return
	}
	says, err := nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: resultSubjects + token, Header: m.Header, Data: m.Data})
	if err != nil {
		q.opts.Log.Debug("a result from outside can't be passed on", "call", token, "error", err)
		return
	}
	_ = m.Respond(says.Data)
}

// unfit is why a message gets no further as a result, as JetStream says such a thing.
type unfit struct {
	Code        int    `json:"code"`
	Description string `json:"description"`
}

// Error implements error.
func (r *unfit) Error() string { return r.Description }

func (r *unfit) answer() []byte {
	data, _ := json.Marshal(map[string]any{"error": r, "stream": ResultStream, "seq": 0}) // always marshals
	return data
}

// admits says why m is no result of the call, or no claim of it; nil: it is.
func (q *Queue) admits(ctx context.Context, nc *nats.Conn, token string, m *nats.Msg) *unfit {
	j, err := q.renewed(ctx, nc)
	if err != nil {
		return &unfit{503, "the job queue is not there: " + err.Error()}
	}
	if !begun(m) {
		if !j.ids.valid(token, m.Header.Get(nats.MsgIdHdr)) {
			return &unfit{400, "the result does not carry the Nats-Msg-Id of its job"}
		}
		return nil
	}
	switch m.Header.Get(jetstream.ExpectedLastSubjSeqHeader) {
	case "":
		return &unfit{400, "the claim does not carry " + jetstream.ExpectedLastSubjSeqHeader}
	case "0":
		return nil // the server takes it only where nothing is there yet
	}
	old, err := j.last(ctx, resultSubjects+token)
	if err != nil {
		return &unfit{503, err.Error()}
	}
	if old != nil && !begun(old.msg) && old.msg.Header.Get(OutcomeHeader) != OutcomeUnavailable {
		return &unfit{400, "the call has its result"}
	}
	return nil
}

// renewed gives the queue without asking for the consumer of a tool.
func (q *Queue) renewed(ctx context.Context, nc *nats.Conn) (*jobQueue, error) {
	select {
	case q.gate <- struct{}{}:
		defer func() { <-q.gate }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	q.mu.Lock()
	closed := q.closed
	q.mu.Unlock()
	if closed {
		return nil, errors.New("the worker shuts down")
	}
	if err := q.renew(ctx, nc); err != nil {
		return nil, err
	}
	return q.now, nil
}

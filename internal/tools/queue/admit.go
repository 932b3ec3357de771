package queue

import (
	"bytes"
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"toolhand/internal/tools/natswire"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// maxAdmitted bounds how many messages are checked and passed on at once; further ones
// wait, and who published them tries again.
const maxAdmitted = 64

// warnEvery is how often what is refused is logged.
const warnEvery = time.Minute

const (
	// ackNext acknowledges a job and asks for another one.
	ackNext = "+NXT"
)

// Admit checks what others publish as results, and as acknowledgements on [AckSubject],
// until nc is closed. Results arrive on subjects that begin with prefix, and only what
// carries the id of its job gets into the stream, which confirms it. So nobody can put
// another message in the place of a result. nc must be the connection of the queue.
func (q *Queue) Admit(nc *nats.Conn, prefix string) error {
	room := make(chan struct{}, maxAdmitted)
	err := q.admitOn(nc, prefix+"*", room, func(ctx context.Context, m *nats.Msg) {
		q.admit(ctx, nc, strings.TrimPrefix(m.Subject, prefix), m)
	})
	if err != nil {
		return err
	}
	return q.admitOn(nc, natswire.AckSubject, room, func(ctx context.Context, m *nats.Msg) { q.passAck(ctx, nc, m) })
}

// admitOn has each message on subject handled beside the others, within queueTimeout.
func (q *Queue) admitOn(nc *nats.Conn, subject string, room chan struct{}, handle func(context.Context, *nats.Msg)) error {
	_, err := nc.Subscribe(subject, func(m *nats.Msg) {
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
			ctx, cancel := context.WithTimeout(context.Background(), queueTimeout)
			defer cancel()
			handle(ctx, m)
		}()
	})
	return err
}

// admit passes a result of the call on, and back what the stream says to it. Who
// hears nothing tries again.
func (q *Queue) admit(ctx context.Context, nc *nats.Conn, token string, m *nats.Msg) {
	if why := q.admits(ctx, nc, token, m); why != nil {
		q.refused("a result is refused", why, "call", token)
		_ = m.Respond(why.answer())
		return
	}
	says, err := nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: natswire.ResultSubjects + token, Header: m.Header, Data: m.Data})
	if err != nil {
		q.opts.Log.Debug("a result from outside can't be passed on", "call", token, "error", err)
		return
	}
	_ = m.Respond(says.Data)
}

// refused logs that, once a minute: who is refused chooses how often.
func (q *Queue) refused(text string, why error, args ...any) {
	q.mu.Lock()
	q.refusals++
	n, quiet := q.refusals, time.Since(q.refusedAt) < warnEvery
	if !quiet {
		q.refusals, q.refusedAt = 0, time.Now()
	}
	q.mu.Unlock()
	if !quiet {
		q.opts.Log.Warn(text, append(args, "error", why, "refused_since_last", n)...)
	}
}

// unfit is why a message gets no further, as JetStream says such a thing.
type unfit struct {
	Code        int                 `json:"code"`
	ErrorCode   jetstream.ErrorCode `json:"err_code,omitempty"`
	Description string              `json:"description"`
}

// Error implements error.
func (r *unfit) Error() string { return r.Description }

func (r *unfit) answer() []byte {
	data, _ := json.Marshal(map[string]any{"error": r, "stream": natswire.ResultStream, "seq": 0}) // always marshals
	return data
}

// admits says why m is no result of the call, or no claim of it; nil: it is. In a claim
// it puts the sequence that the claim stands for.
func (q *Queue) admits(ctx context.Context, nc *nats.Conn, token string, m *nats.Msg) *unfit {
	j, err := q.renewed(ctx, nc)
	if err != nil {
		return &unfit{Code: 503, Description: "the job queue is not there: " + err.Error()}
	}
	if !natswire.Begun(m) {
		if !j.ids.valid(token, m.Header.Get(nats.MsgIdHdr)) {
			return &unfit{Code: 400, Description: "the result does not carry the Nats-Msg-Id of its job"}
		}
		return nil
	}
	claim := m.Header.Get(jetstream.ExpectedLastSubjSeqHeader)
	if claim == "" {
		return &unfit{Code: 400, Description: "the claim does not carry " + jetstream.ExpectedLastSubjSeqHeader}
	}
	old, err := j.last(ctx, natswire.ResultSubjects+token)
	if err != nil {
		return &unfit{Code: 503, Description: err.Error()}
	}
	expected := uint64(0)
	if old != nil {
		expected = old.seq
	}
	if !j.ids.claims(token, expected, claim) {
		// As the server says it of a claim that comes too late, which this may be.
		return &unfit{400, jetstream.JSErrCodeStreamWrongLastSequence, "wrong last sequence: it is no claim of the job, or comes too late"}
	}
	if old != nil && !natswire.Begun(old.msg) && old.msg.Header.Get(natswire.OutcomeHeader) != natswire.OutcomeUnavailable {
		return &unfit{Code: 400, Description: "the call has its result"}
	}
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(expected, 10))
	return nil
}

// passAck passes an acknowledgement on that carries the id of its job.
func (q *Queue) passAck(ctx context.Context, nc *nats.Conn, m *nats.Msg) {
	subject, why := q.ackOf(ctx, nc, m)
	if why != nil {
		q.refused("an acknowledgement is refused", why)
		_ = m.Respond(why.answer())
		return
	}
	says, err := nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: subject, Data: m.Data})
	if err != nil {
		q.opts.Log.Debug("an acknowledgement from outside can't be passed on", "error", err)
		return
	}
	_ = m.Respond(says.Data)
}

// ackOf is the subject on which m acknowledges a job. It is made of numbers and of what
// the job itself says, so that it is of that job.
func (q *Queue) ackOf(ctx context.Context, nc *nats.Conn, m *nats.Msg) (string, *unfit) {
	of, err := (&nats.Msg{Reply: m.Header.Get(natswire.AckOfHeader), Sub: &nats.Subscription{}}).Metadata()
	if err != nil || of.Sequence.Stream == 0 || bytes.HasPrefix(m.Data, []byte(ackNext)) {
		return "", &unfit{Code: 400, Description: "no acknowledgement of a job: " + natswire.AckOfHeader + " is not the reply subject of one, or its data is not +ACK, -NAK, +WPI or +TERM"}
	}
	j, err := q.renewed(ctx, nc)
	if err != nil {
		return "", &unfit{Code: 503, Description: "the job queue is not there: " + err.Error()}
	}
	job, err := j.jobs.GetMsg(ctx, of.Sequence.Stream)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return "", &unfit{Code: 404, Description: "the job is not in the queue any more"}
	}
	if err != nil {
		return "", &unfit{Code: 503, Description: err.Error()}
	}
	if id := job.Header.Get(nats.MsgIdHdr); id == "" || !hmac.Equal([]byte(id), []byte(m.Header.Get(nats.MsgIdHdr))) {
		return "", &unfit{Code: 400, Description: "the acknowledgement does not carry the Nats-Msg-Id of its job"}
	}
	return fmt.Sprintf("$JS.ACK.%s.%s.%d.%d.%d.%d.%d", natswire.JobStream, strings.TrimPrefix(job.Subject, natswire.JobSubjects),
		of.NumDelivered, of.Sequence.Stream, of.Sequence.Consumer, of.Timestamp.UnixNano(), of.NumPending), nil
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

package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	toolnats "toolhand/internal/tools/nats"
	"toolhand/internal/tools/natswire"
)

const (
	// queueTimeout bounds one question to JetStream, in wall clock.
	queueTimeout = 5 * time.Second
	// lookEvery is how often a result is looked for that may have passed by.
	lookEvery = 10 * time.Second
	// lookAgain is how soon it is looked for again where the look failed.
	lookAgain = time.Second
)

// A queueHandler puts calls into the job queue and waits for their results. All
// its fields are immutable.
type handler struct {
	queue      *Queue
	name       string
	idempotent bool
	max        int // bytes of a result's text
	log        *slog.Logger
	misfits    content.Misfits
}

// NewHandler makes the handler of a tool whose calls are jobs in queue. The
// subject of cfg is checked, and not used: the jobs have their own. A queue that
// is nil makes the tool unavailable.
func NewHandler(cfg toolnats.Config, common tools.Common, queue *Queue) (tools.Handler, error) {
	if cfg.Subject != "" {
		if err := toolnats.CheckSubject(cfg.Subject); err != nil {
			return nil, fmt.Errorf("subject: %w", err)
		}
	}
	if queue == nil {
		queue = New(Options{})
	}
	return &handler{
		queue: queue, name: common.Name, idempotent: common.Idempotent, max: common.MaxResultBytes, log: common.Logger(),
	}, nil
}

// Call publishes the job once and waits for its result. A job or a result of the
// same call that is there already, of an earlier process, is found: the server
// drops the second job, and the result is looked for first.
func (h *handler) Call(ctx context.Context, call tools.Call) (tools.Result, error) {
	if ctx.Err() != nil {
		return tools.Result{}, &tools.UnavailableError{Err: context.Cause(ctx)}
	}
	j, err := h.queue.open(ctx, h.name, h.idempotent)
	if err != nil {
		return tools.Result{}, away(err)
	}
	w, err := h.listen(j, call)
	if err != nil {
		return tools.Result{}, away(err)
	}
	defer w.close()
	old, err := j.last(ctx, w.subject())
	if err != nil {
		h.queue.stale.Store(true)
		return tools.Result{}, away(err)
	}
	if old != nil {
		if r, err, over := w.earlier(ctx, old); over {
			return r, err
		}
	}
	if old != nil && w.stale == "" && !h.idempotent {
		return w.wait(ctx, h.queue.look) // it was begun by who took an earlier job
	}
	msg := h.job(call, w, old)
	if size, limit := int64(msg.Size()-len(msg.Subject)), j.nc.MaxPayload(); size > limit {
		return content.Error(fmt.Sprintf("The input has %d bytes with its headers, and the NATS server takes at most %d: call the tool with less", size, limit)), nil
	}
	if err := w.publish(ctx, msg); err != nil {
		return tools.Result{}, err
	}
	w.own = true
	return w.wait(ctx, h.queue.look)
}

// Resume waits for the result of a job that an earlier process published, perhaps.
func (h *handler) Resume(ctx context.Context, call tools.Call) (tools.Result, error) {
	j, err := h.queue.open(ctx, h.name, h.idempotent)
	if err != nil {
		return tools.Result{}, away(err)
	}
	w, err := h.listen(j, call)
	if err != nil {
		return tools.Result{}, away(err)
	}
	defer w.close()
	r, err := w.wait(ctx, 0)
	var unavailable *tools.UnavailableError
	if errors.As(err, &unavailable) {
		// It did not run then. Whether it was tried again is not known here.
		err = &tools.LostError{Err: unavailable.Err}
	}
	return r, err
}

// job is the message of a call. old is what there is on the subject of its result.
func (h *handler) job(call tools.Call, w *queueWait, old *lastResult) *nats.Msg {
	msg := natswire.NewRequest(natswire.JobSubjects+h.name, call)
	msg.Header.Set(nats.MsgIdHdr, w.msgID)
	msg.Header.Set(natswire.ResultSubjectHeader, w.subject())
	if !h.idempotent {
		expected := uint64(0)
		if old != nil {
			expected = old.seq
		}
		msg.Header.Set(natswire.ClaimHeader, h.queue.claim(w.j.ids, natswire.Token(call.ID), expected))
	}
	return msg
}

// away is err as the handler says it where nothing was published.
func away(err error) error {
	var unavailable *tools.UnavailableError
	if errors.As(err, &unavailable) {
		return err
	}
	return &tools.UnavailableError{Err: err, Passing: true}
}

// A queueWait waits for the result of one call. Its fields belong to the
// goroutine of the call.
type queueWait struct {
	h    *handler
	j    *jobQueue
	call tools.Call
	msgs chan *nats.Msg // what is published as the result while it waits
	sub  *nats.Subscription
	back chan nats.Status // the connection was made again

	msgID string // of the job
	own   bool   // only the job that is published here can have the result
	stale string // the message id of a result that is not this job's; empty: there is none
	seq   uint64 // of the job in its stream; 0: not known
}

// listen begins to take in what is published as the result of call.
func (h *handler) listen(j *jobQueue, call tools.Call) (*queueWait, error) {
	w := &queueWait{h: h, j: j, call: call, msgs: make(chan *nats.Msg, 4), msgID: j.ids.of(natswire.Token(call.ID), 0)}
	var err error
	if w.sub, err = j.nc.ChanSubscribe(w.subject(), w.msgs); err != nil {
		return nil, err
	}
	w.back = j.nc.StatusChanged(nats.CONNECTED)
	return w, nil
}

func (w *queueWait) close() {
	w.j.nc.RemoveStatusListener(w.back)
	_ = w.sub.Unsubscribe() // it can only be gone already
}

func (w *queueWait) subject() string { return natswire.ResultSubjects + natswire.Token(w.call.ID) }

// earlier says whether what an earlier job of this call came to is its result.
// What says that the call did not run, or for a tool that may run twice that nobody
// knows, makes room for another job: its id is made of that message, so that it is
// the same whoever publishes it.
func (w *queueWait) earlier(ctx context.Context, old *lastResult) (r tools.Result, err error, over bool) {
	r, err, over = w.take(ctx, old.msg)
	var unavailable *tools.UnavailableError
	if over && (errors.As(err, &unavailable) || err != nil && w.h.idempotent) {
		w.msgID, w.stale = w.j.ids.of(natswire.Token(w.call.ID), old.seq), old.msg.Header.Get(nats.MsgIdHdr)
		return tools.Result{}, nil, false
	}
	return r, err, over
}

// publish publishes the job. No error means that it may be in the queue, and is
// to be waited for.
func (w *queueWait) publish(ctx context.Context, msg *nats.Msg) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queueTimeout)
	defer cancel()
	if !w.j.nc.IsConnected() {
		return &tools.UnavailableError{Err: errQueueAway, Passing: true}
	}
	ack, err := w.j.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
	if err == nil {
		w.seq = ack.Sequence
		return nil
	}
	if why := unpublished(err); why != nil {
		if errors.Is(err, jetstream.ErrNoStreamResponse) {
			w.h.queue.forget()
		}
		return why
	}
	w.h.log.Warn("whether a job is in the queue is not known", "tool", w.call.Tool, "call", w.call.ID, "error", err)
	if w.h.idempotent {
		return &tools.LostError{Err: err} // asked again, the queue drops a second job
	}
	return nil
}

// unpublished is what a handler says of an error that means that the job is surely
// not in the queue, and nil for all others.
func unpublished(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return &tools.UnavailableError{Err: errQueueAway, Passing: true}
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return &tools.UnavailableError{Err: errors.New("the job queue is not there"), Passing: true}
	case errors.Is(err, nats.ErrHeadersNotSupported), errors.Is(err, nats.ErrConnectionDraining),
		errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrMaxPayload):
		return &tools.UnavailableError{Err: err}
	case errors.As(err, &api):
		return &tools.UnavailableError{Err: fmt.Errorf("the job queue takes no more jobs: %s", api.Description), Passing: true}
	}
	return nil
}

// wait waits for the result; what may have passed by is first looked for after the
// time given. When nobody wants it any more it takes the job back,
// unless the worker only shuts down.
func (w *queueWait) wait(ctx context.Context, first time.Duration) (tools.Result, error) {
	look := time.NewTimer(first)
	defer look.Stop()
	gone := false // the job was seen to be gone, while it had no result
	for {
		select {
		case m := <-w.msgs:
			if r, err, ok := w.take(ctx, m); ok {
				return r, err
			}
		case <-w.back:
			look.Reset(0)
		case <-look.C:
			again := w.h.queue.look
			gone = w.renew(ctx) || gone
			m, err := w.j.last(ctx, w.subject())
			switch {
			case err != nil:
				again = min(again, lookAgain)
			case m != nil:
				if r, err, ok := w.take(ctx, m.msg); ok {
					return r, err
				}
			}
			if err == nil && gone {
				return tools.Result{}, &tools.LostError{Err: errors.New("its job was taken out of the queue without a result")}
			}
			if err == nil && w.seq != 0 {
				if gone = w.j.gone(ctx, w.seq); gone {
					again = min(again, lookAgain)
				}
			}
			look.Reset(again)
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, tools.ErrLeft) {
				w.callOff(ctx)
			}
			return tools.Result{}, &tools.LostError{Err: context.Cause(ctx)}
		}
	}
}

// renew takes the queue as it is now: what was deleted is made anew, so that a
// result finds its stream. It reports whether the job is gone with its own.
func (w *queueWait) renew(ctx context.Context) bool {
	j, err := w.h.queue.open(ctx, w.h.name, w.h.idempotent)
	if err != nil || j.nc != w.j.nc {
		return false // what is here is asked on
	}
	old := w.j
	w.j = j
	if w.seq == 0 || j.same(old) {
		return false
	}
	w.seq = 0
	return true
}

// take reports whether m is the result of this job, and what it says. One without
// the job's own id is of somebody who did not take the job.
func (w *queueWait) take(ctx context.Context, m *nats.Msg) (tools.Result, error, bool) {
	id := m.Header.Get(nats.MsgIdHdr)
	theirs := id != w.msgID && (w.own || !w.j.ids.valid(natswire.Token(w.call.ID), id))
	if theirs || id == w.stale || natswire.Begun(m) {
		return tools.Result{}, nil, false
	}
	r, misfit, err := natswire.ReadReply(m, w.h.max)
	w.h.misfits.Tell(ctx, w.h.log.With("tool", w.call.Tool), misfit)
	return r, err, true
}

// callOff says that nobody waits for the job any more, and takes it out of the
// queue: so nobody begins it.
func (w *queueWait) callOff(ctx context.Context) {
	if err := w.j.nc.PublishMsg(natswire.NewCancel(w.call)); err != nil {
		w.h.log.Debug("who works on a job can't be told that its call is over", "tool", w.call.Tool, "call", w.call.ID, "error", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queueTimeout)
	defer cancel()
	if w.renew(ctx) || w.seq == 0 {
		return // it is gone, or has its deadline with it
	}
	if err := w.j.jobs.DeleteMsg(ctx, w.seq); err != nil {
		w.h.log.Debug("a job that nobody waits for is not in the queue any more", "tool", w.call.Tool, "call", w.call.ID, "error", err)
	}
}

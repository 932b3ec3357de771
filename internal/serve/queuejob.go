package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	"toolhand/internal/tools/natswire"
)

const (
	// handInWait is the first wait before a result that was not taken is handed
	// in again; the waits double up to handInMax.
	handInWait = 50 * time.Millisecond
	handInMax  = 2 * time.Second
	// handInLate is how long after the call's deadline that is still tried, and
	// handInStop how long once everything is stopped.
	handInLate = 30 * time.Second
	handInStop = 2 * time.Second
	// ackDirectly is how long after its coming a job is acknowledged on its own reply
	// subject, which nats.listen takes for an hour.
	ackDirectly = 30 * time.Minute
)

// What a job is acknowledged with.
const (
	ackDone     = "+ACK"
	ackAgain    = "-NAK"
	ackProgress = "+WPI"
	ackNever    = "+TERM"
)

// A job is one call out of the queue.
type job struct {
	s     *Server
	msg   *nats.Msg
	call  tools.Call
	again bool // it was handed out before
	// more: it is handed out again where it is not acknowledged.
	more    bool
	ackWait time.Duration
	// border: only the connection that got the job acknowledges it by itself, and not
	// for ever.
	border     bool
	came       time.Time
	reconnects uint64 // of the connection then
}

// arrived takes in what answers a request for a job.
func (p *puller) arrived(m *nats.Msg) {
	status := 0
	if text := m.Header.Get("Status"); text != "" && len(m.Data) == 0 && m.Header.Get("Tool-Name") == "" {
		status, _ = strconv.Atoi(text)
		if status == 100 {
			return // a heartbeat
		}
	} else {
		p.begin(m)
	}
	select {
	case p.answered <- status:
	default: // of an older request; nobody waits for it
	}
}

// begin begins a job. It does not wait for it.
func (p *puller) begin(m *nats.Msg) {
	j := &job{s: p.s, msg: m, ackWait: p.ackWait, border: p.border, came: time.Now(), reconnects: p.s.cfg.Conn.Stats().Reconnects}
	meta, err := m.Metadata()
	if err == nil {
		j.again = meta.NumDelivered > 1
		j.more = p.maxDeliver < 0 || meta.NumDelivered < uint64(p.maxDeliver)
		j.call, err = p.s.parseCall(m.Header.Get, p.name, m.Data, p.clock.since(meta.Timestamp))
	}
	if err != nil || m.Header.Get("Tool-Use-Id") == "" {
		p.s.cfg.Log.Warn("a message in the queue is no job: it is dropped", "tool", p.name, "error", err)
		j.acknowledge(ackNever)
		return
	}
	ctx, end, ok := p.s.begin(j.call)
	if !ok {
		go j.settle(unavailable(p.name, errors.New("the worker that took it takes no more calls")))
		return
	}
	go func() {
		defer end()
		j.run(ctx)
	}()
}

// run runs the job and hands in its result. Whoever is silent about a job loses
// it, so that it says that it goes on until the result is in.
func (j *job) run(ctx context.Context) {
	if !j.claim(ctx) {
		return
	}
	alive, done := context.WithCancel(context.WithoutCancel(ctx))
	defer done()
	go j.goesOn(alive)
	tool, ok := j.s.cfg.Once.Lookup(j.call.Tool)
	mayAgain := ok && tool.Idempotent && j.msg.Header.Get(natswire.ClaimHeader) == ""
	if j.again && !mayAgain {
		const why = "it was begun by another worker, and may not run twice"
		j.settle(natswire.Reply{Result: content.Error(why), Outcome: natswire.OutcomeUnknown, Reason: why})
		return
	}
	report, err := j.s.run(ctx, j.call)
	switch {
	case errors.Is(err, errCalledOff):
		j.acknowledge(ackDone)
	case err != nil && mayAgain && j.more:
		j.acknowledge(ackAgain)
	default:
		j.settle(replyOf(report, err))
	}
}

// claim says that the job begins here, where it may begin only once. It reports
// false where that was said before: whoever did goes on or is silent, and the job
// is left to it; or where it can't be said while somebody waits for the result.
func (j *job) claim(ctx context.Context) bool {
	expected := j.msg.Header.Get(natswire.ClaimHeader)
	if expected == "" {
		return true
	}
	msg := nats.NewMsg(natswire.ResultSubject(j.msg.Header))
	msg.Header.Set(natswire.OutcomeHeader, natswire.OutcomeBegun)
	msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, expected)
	msg.Header.Set(nats.MsgIdHdr, "claim."+rand.Text()) // said twice, it counts once
	until := func() bool {
		return ctx.Err() != nil || time.Now().After(j.call.Deadline)
	}
	err := j.publish(msg, until)
	var api *jetstream.APIError
	switch {
	case err == nil:
		return true
	case errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant):
		j.s.cfg.Log.Info("a job was begun before: left to who did", "tool", j.call.Tool, "call", j.call.ID)
	case errors.Is(context.Cause(ctx), errCalledOff):
		j.acknowledge(ackDone)
	default:
		j.settle(unavailable(j.call.Tool, fmt.Errorf("the worker that took it could not say that it begins: %w", err)))
	}
	return false
}

func (j *job) goesOn(ctx context.Context) {
	tick := time.NewTicker(max(j.ackWait/3, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = j.s.cfg.Conn.PublishMsg(j.ack(ackProgress)) // the next one follows soon
		case <-ctx.Done():
			return
		}
	}
}

// settle hands in the result, and then acknowledges the job: in this order, so
// that a job that is gone has its result.
func (j *job) settle(r natswire.Reply) {
	if err := j.handIn(r); err != nil {
		j.s.cfg.Log.Error("a result can't be handed in: who asked will take its outcome as unknown", "tool", j.call.Tool, "call", j.call.ID, "error", err)
		return
	}
	j.acknowledge(ackDone)
}

// handIn publishes the result until the server says that it has it.
func (j *job) handIn(r natswire.Reply) error {
	r = j.s.fitting(j.call, r)
	msg := &nats.Msg{Subject: natswire.ResultSubject(j.msg.Header), Header: r.Header(), Data: r.Data()}
	msg.Header.Set(nats.MsgIdHdr, j.msg.Header.Get(nats.MsgIdHdr))
	begun := time.Now()
	return j.publish(msg, func() bool {
		return time.Since(j.call.Deadline) > handInLate ||
			j.s.ctx.Err() != nil && time.Since(begun) > handInStop
	})
}

// publish publishes until the server has the message, or refuses it for what it
// is, or until says that it is too late.
func (j *job) publish(msg *nats.Msg, until func() bool) error {
	js, err := jetstream.New(j.s.cfg.Conn)
	if err != nil {
		return err
	}
	for wait := handInWait; ; wait = min(2*wait, handInMax) {
		err := publishOnce(js, msg)
		var api *jetstream.APIError
		if err == nil || errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &api) && api.Code == 400 || j.s.cfg.Conn.IsClosed() || until() {
			return err
		}
		time.Sleep(wait)
	}
}

func publishOnce(js jetstream.JetStream, msg *nats.Msg) error {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	_, err := js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
	return err
}

// acknowledge says what became of the job, and for a done one waits until the
// server knows: who was told is not asked again.
func (j *job) acknowledge(what string) {
	var err error
	if what == ackDone {
		_, err = j.s.cfg.Conn.RequestMsg(j.ack(what), askTimeout)
	} else {
		err = j.s.cfg.Conn.PublishMsg(j.ack(what))
	}
	if err != nil {
		j.s.cfg.Log.Warn("the queue does not know yet what became of a job", "tool", j.call.Tool, "call", j.call.ID, "error", fmt.Errorf("acknowledging: %w", err))
	}
}

// ack is the message that says what became of the job.
func (j *job) ack(what string) *nats.Msg {
	msg := nats.NewMsg(j.msg.Reply)
	msg.Data = []byte(what)
	if j.border && (j.s.cfg.Conn.Stats().Reconnects != j.reconnects || time.Since(j.came) > ackDirectly) {
		msg.Subject = natswire.AckSubject
		msg.Header.Set(nats.MsgIdHdr, j.msg.Header.Get(nats.MsgIdHdr))
		msg.Header.Set(natswire.AckOfHeader, j.msg.Reply)
	}
	return msg
}

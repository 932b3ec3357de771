package queue_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/tools"
	"toolhand/internal/tools/handlertest"
	"toolhand/internal/tools/natswire"
	"toolhand/internal/tools/queue"
)

// forge publishes a message without the id of the job.
func (r *queueRig) forge(subject, id string) {
	r.t.Helper()
	msg := nats.NewMsg(subject)
	if id != "" {
		msg.Header.Set(nats.MsgIdHdr, id)
	}
	msg.Data = []byte("forged")
	if _, err := r.other.PublishMsg(r.t.Context(), msg); err != nil {
		r.t.Fatal(err)
	}
}

// A result is taken only with the job's own id: while it is waited for, when it is
// looked for, and after a restart.
func TestQueueTakesNoForgedResult(t *testing.T) {
	r := newQueueRig(t)
	patient := func(o *queue.Options) { o.AckWait = time.Minute }
	for _, idempotent := range []bool{false, true} {
		id := map[bool]string{false: "sevt_1", true: "sevt_2"}[idempotent]
		ctx, cancel := context.WithCancelCause(t.Context())
		first := r.begun(ctx, r.handler(idempotent, patient).Call, id)
		m := r.took()
		own := m.Headers().Get(nats.MsgIdHdr)
		subject := m.Headers().Get(natswire.ResultSubjectHeader)
		for _, forged := range []string{"", id, id + ".0", "x", strings.Repeat("0", 32) + ".0", own[:len(own)-1] + "1", own + ".0"} {
			r.forge(subject, forged)
		}
		time.Sleep(300 * time.Millisecond) // it is looked for, too
		select {
		case a := <-first:
			t.Fatalf("taken: %v, %v", a.r, a.err)
		default:
		}
		cancel(tools.ErrLeft)
		<-first
		second := r.begun(t.Context(), r.handler(idempotent, patient).Resume, id)
		r.forge(subject, "y")
		time.Sleep(300 * time.Millisecond)
		r.handIn(m, "", "true")
		r.is(second, "true")
	}
}

// The ids are the same for all workers and after a restart, and other ones for each
// job.
func TestQueueIDs(t *testing.T) {
	r := newQueueRig(t)
	seen := map[string]bool{}
	for _, id := range []string{"sevt_1", "sevt_2", "sevt.odd"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		first := r.begun(ctx, r.handler(true).Call, id)
		m := r.took()
		cancel(tools.ErrLeft)
		<-first
		seen[m.Headers().Get(nats.MsgIdHdr)] = true
		second := r.begun(t.Context(), r.handler(true).Call, id) // publishes it again: the server drops it
		r.handIn(m, "", id)
		r.is(second, id)
		if n := r.jobs(); n != 0 {
			t.Errorf("%d jobs are left", n)
		}
	}
	if len(seen) != 3 {
		t.Errorf("the ids of three jobs are %v", seen)
	}
	s, err := r.other.Stream(t.Context(), natswire.JobStream)
	if err != nil {
		t.Fatal(err)
	}
	for name := range s.CachedInfo().Config.Metadata {
		if strings.HasPrefix(name, "toolhand") {
			t.Errorf("the stream that consumers can look at has %s", name)
		}
	}
}

// A stream of before has no key: the results of the jobs that are under way then are
// taken with the ids that they had.
func TestQueueOfBeforeTheIDs(t *testing.T) {
	r := newQueueRig(t)
	for name, subject := range map[string]string{natswire.JobStream: "toolhand.jobs.>", natswire.ResultStream: "toolhand.results.>"} {
		cfg := jetstream.StreamConfig{Name: name, Subjects: []string{subject}, AllowDirect: true}
		if name == natswire.JobStream {
			cfg.Retention, cfg.Discard = jetstream.WorkQueuePolicy, jetstream.DiscardNew
		} else {
			cfg.MaxMsgsPerSubject = 1
		}
		if _, err := r.other.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	old := r.begun(t.Context(), r.handler(false).Resume, "sevt_1")
	time.Sleep(100 * time.Millisecond)
	r.forge("toolhand.results.sevt_1", "sevt_2") // of another job
	r.forge("toolhand.results.sevt_1", "sevt_1")
	r.is(old, "forged")
	again := r.begun(t.Context(), r.handler(false).Resume, "sevt_3")
	r.forge("toolhand.results.sevt_3", "sevt_3.7")
	r.is(again, "forged")
	fresh := r.begun(t.Context(), r.handler(false).Call, "sevt_4")
	m := r.took()
	r.forge("toolhand.results.sevt_4", "sevt_4") // a job of now has an id of now
	r.handIn(m, "", "true")
	r.is(fresh, "true")
	// Claims of jobs of before name the sequence itself.
	r.admitting()
	r.outside("sevt_5", claimHeader("0"), "")
	r.outside("sevt_5", claimHeader("0"), tooLate)
	s, err := r.other.Stream(t.Context(), natswire.ResultStream)
	if err != nil {
		t.Fatal(err)
	}
	last, err := s.GetLastMsgForSubject(t.Context(), "toolhand.results.sevt_4")
	if err != nil {
		t.Fatal(err)
	}
	r.outside("sevt_4", claimHeader(strconv.FormatUint(last.Sequence, 10)), "the call has its result")
}

// admitting has results and acknowledgements of r checked, as for nats.listen; Admitted
// has claims made for it.
func (r *queueRig) admitting() (admitted func(*queue.Options)) {
	r.t.Helper()
	q := queue.New(queue.Options{Conn: func() (*nats.Conn, error) { return r.nc, nil }})
	r.t.Cleanup(q.Close)
	if err := errors.Join(q.Admit(r.nc, "handin."), r.nc.Flush()); err != nil {
		r.t.Fatal(err)
	}
	return func(o *queue.Options) { o.Admitted, o.AckWait = true, time.Minute }
}

// outside publishes what a client of nats.listen does, and looks at what it is told.
func (r *queueRig) outside(token string, header nats.Header, want string) {
	r.t.Helper()
	msg := &nats.Msg{Subject: "handin." + token, Header: header, Data: []byte("outside")}
	_, err := r.other.PublishMsg(r.t.Context(), msg, jetstream.WithRetryAttempts(0))
	var api *jetstream.APIError
	if want == "" && err != nil || want != "" && (!errors.As(err, &api) || !strings.Contains(api.Description, want)) {
		r.t.Errorf("%s %v: %v, want %q", token, header, err, want)
	}
}

func claimHeader(expected string) nats.Header {
	return nats.Header{natswire.OutcomeHeader: {natswire.OutcomeBegun}, jetstream.ExpectedLastSubjSeqHeader: {expected}, nats.MsgIdHdr: {"claim." + nats.NewInbox()}}
}

const noID, tooLate = "does not carry the Nats-Msg-Id", "wrong last sequence"

// A forged message in the place of the true result is no result either: the call comes
// to its end without it.
func TestQueueForgedOverTheResult(t *testing.T) {
	r := newQueueRig(t)
	patient := func(o *queue.Options) { o.AckWait = time.Minute }
	ctx, cancel := context.WithCancelCause(t.Context())
	first := r.begun(ctx, r.handler(false, patient).Call, "sevt_1")
	m := r.took()
	r.handIn(m, "", "true")
	r.forge(m.Headers().Get(natswire.ResultSubjectHeader), "sevt_1")
	r.is(first, "true") // it heard the true one
	cancel(tools.ErrLeft)
	late, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer stop()
	again := r.begun(late, r.handler(false, patient).Resume, "sevt_1")
	var lost *tools.LostError
	if a := <-again; !errors.As(a.err, &lost) {
		t.Errorf("%s, %v", a.r.Content, a.err)
	}
}

// What is refused fills no log.
func TestQueueAdmitLogsSeldom(t *testing.T) {
	r := newQueueRig(t)
	var log bytes.Buffer // read once the queue is closed
	q := queue.New(queue.Options{Conn: func() (*nats.Conn, error) { return r.nc, nil }, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err := errors.Join(q.Admit(r.nc, "handin."), r.nc.Flush()); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		r.outside("sevt_1", nil, noID)
	}
	q.Close()
	if n := strings.Count(log.String(), "a result is refused"); n != 1 {
		t.Errorf("%d lines", n)
	}
}

// Who comes by nats.listen gets a result into the stream only with the job's id, a claim
// with the number that the job names, and can't put anything in the place of a result.
func TestQueueAdmit(t *testing.T) {
	r := newQueueRig(t)
	admitted := r.admitting()
	r.outside("sevt_1", nil, noID) // before the first call
	r.outside("sevt_1", claimHeader("0"), tooLate)
	done := r.begun(t.Context(), r.handler(false, admitted).Call, "sevt_1")
	m := r.took()
	own, claim := m.Headers().Get(nats.MsgIdHdr), m.Headers().Get(natswire.ClaimHeader)
	if n, err := strconv.ParseUint(claim, 10, 53); err != nil || n < 1<<20 {
		t.Errorf("the claim is %q: it can be guessed, or is no number in JavaScript", claim)
	}
	r.outside("sevt_1", nats.Header{nats.MsgIdHdr: {"sevt_1"}}, noID)
	r.outside("sevt_2", nats.Header{nats.MsgIdHdr: {own}}, noID) // the id of another job
	r.outside("sevt_1", nats.Header{natswire.OutcomeHeader: {natswire.OutcomeBegun}}, "the claim does not carry")
	for _, guess := range []string{"0", "1", "-1", "", "x", claim + "0"} {
		r.outside("sevt_1", claimHeader(guess), map[bool]string{true: "the claim does not carry", false: tooLate}[guess == ""])
	}
	r.outside("sevt_2", claimHeader(claim), tooLate) // the claim of another job
	r.outside("sevt_1", claimHeader(claim), "")
	r.outside("sevt_1", claimHeader(claim), tooLate)
	r.outside("sevt_1", nats.Header{nats.MsgIdHdr: {own}}, "")
	r.is(done, "outside")
	s, err := r.other.Stream(t.Context(), natswire.ResultStream)
	if err != nil {
		t.Fatal(err)
	}
	last, err := s.GetLastMsgForSubject(t.Context(), "toolhand.results.sevt_1")
	if err != nil {
		t.Fatal(err)
	}
	r.outside("sevt_1", claimHeader(strconv.FormatUint(last.Sequence, 10)), tooLate)
	r.outside("sevt_1", claimHeader(claim), tooLate)
	r.outside("sevt_1", nats.Header{nats.MsgIdHdr: {"other"}}, noID)
	if now, err := s.GetLastMsgForSubject(t.Context(), "toolhand.results.sevt_1"); err != nil || now.Sequence != last.Sequence {
		t.Errorf("the result is %+v, %v", now, err)
	}
}

// A job whose first one surely did not run has a claim of its own.
func TestQueueAdmitAfterUnavailable(t *testing.T) {
	r := newQueueRig(t)
	admitted := r.admitting()
	first := r.begun(t.Context(), r.handler(false, admitted).Call, "sevt_1")
	m := r.took()
	id, claim := m.Headers().Get(nats.MsgIdHdr), m.Headers().Get(natswire.ClaimHeader)
	r.outside("sevt_1", claimHeader(claim), "")
	r.outside("sevt_1", nats.Header{nats.MsgIdHdr: {id}, natswire.OutcomeHeader: {natswire.OutcomeUnavailable}}, "")
	var unavailable *tools.UnavailableError
	if a := <-first; !errors.As(a.err, &unavailable) {
		t.Fatalf("%v, %v", a.r, a.err)
	}
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := r.begun(t.Context(), r.handler(false, admitted).Call, "sevt_1")
	m = r.took()
	r.outside("sevt_1", claimHeader(claim), tooLate) // of the first job
	r.outside("sevt_1", claimHeader(m.Headers().Get(natswire.ClaimHeader)), "")
	r.outside("sevt_1", nats.Header{nats.MsgIdHdr: {m.Headers().Get(nats.MsgIdHdr)}}, "")
	r.is(second, "outside")
}

// The taker of a job acknowledges it by the job's id from whatever connection; nobody
// else does.
func TestQueueAdmitAcks(t *testing.T) {
	r := newQueueRig(t)
	admitted := r.admitting()
	ctx, cancel := context.WithCancelCause(t.Context())
	call := r.handler(true, admitted).Call
	calls := []chan answer{r.begun(ctx, call, "sevt_1"), r.begun(ctx, call, "sevt_2")}
	m, other := r.took(), r.took()
	cancel(tools.ErrLeft)
	for _, c := range calls {
		<-c
	}
	nc := handlertest.DialNATS(t, r.srv.ClientURL())
	ack := func(what string, header nats.Header, want string) {
		t.Helper()
		says, err := nc.RequestMsg(&nats.Msg{Subject: natswire.AckSubject, Header: header, Data: []byte(what)}, 5*time.Second)
		if err != nil || !strings.Contains(string(says.Data), want) || want == "" && len(says.Data) > 0 {
			t.Errorf("%s %v: %v, %v, want %q", what, header, says, err, want)
		}
	}
	pending := func(want int) {
		t.Helper()
		c, err := r.other.Consumer(t.Context(), natswire.JobStream, "job")
		if err != nil {
			t.Fatal(err)
		}
		if info := c.CachedInfo(); info.NumAckPending != want || info.NumPending > 0 || info.NumRedelivered > 0 {
			t.Errorf("the consumer is %+v", info)
		}
	}
	header := func(of, id string) nats.Header {
		return nats.Header{natswire.AckOfHeader: {of}, nats.MsgIdHdr: {id}}
	}
	id := m.Headers().Get(nats.MsgIdHdr)
	for _, what := range []string{"+ACK", "-NAK", "+TERM", "+WPI"} {
		for _, not := range []string{"", "sevt_1", other.Headers().Get(nats.MsgIdHdr)} {
			ack(what, header(m.Reply(), not), noID)
		}
		for _, of := range []string{"", "x", "$JS.ACK.x", "$JS.ACK.TOOLHAND_JOBS.job.1.x.1.1.1"} {
			ack(what, header(of, id), "is not the reply subject")
		}
	}
	ack("+NXT", header(m.Reply(), id), "is not the reply subject")
	pending(2)
	ack("+WPI", header(m.Reply(), id), "")
	ack("+ACK", header(m.Reply(), id), "")
	pending(1)
	ack("+ACK", header(m.Reply(), id), "not in the queue")
}

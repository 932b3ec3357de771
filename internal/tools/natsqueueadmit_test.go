package tools_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/tools"
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
	patient := func(o *tools.QueueOptions) { o.AckWait = time.Minute }
	for _, idempotent := range []bool{false, true} {
		id := map[bool]string{false: "sevt_1", true: "sevt_2"}[idempotent]
		ctx, cancel := context.WithCancelCause(t.Context())
		first := r.begun(ctx, r.handler(idempotent, patient).Call, id)
		m := r.took()
		own := m.Headers().Get(nats.MsgIdHdr)
		subject := m.Headers().Get(tools.ResultSubjectHeader)
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
	s, err := r.other.Stream(t.Context(), tools.JobStream)
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
	for name, subject := range map[string]string{tools.JobStream: "toolhand.jobs.>", tools.ResultStream: "toolhand.results.>"} {
		cfg := jetstream.StreamConfig{Name: name, Subjects: []string{subject}, AllowDirect: true}
		if name == tools.JobStream {
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
}

// Who comes by nats.listen gets a result into the stream only with the job's id, and
// can't put anything in the place of one that is there.
func TestQueueAdmit(t *testing.T) {
	r := newQueueRig(t)
	queue := tools.NewQueue(tools.QueueOptions{Conn: func() (*nats.Conn, error) { return r.nc, nil }})
	t.Cleanup(queue.Close)
	if err := queue.Admit(r.nc, "handin."); err != nil {
		t.Fatal(err)
	}
	if err := r.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	publish := func(token string, header nats.Header, want string) {
		t.Helper()
		msg := &nats.Msg{Subject: "handin." + token, Header: header, Data: []byte("outside")}
		_, err := r.other.PublishMsg(t.Context(), msg, jetstream.WithRetryAttempts(0))
		var api *jetstream.APIError
		if want == "" && err != nil || want != "" && (!errors.As(err, &api) || !strings.Contains(api.Description, want)) {
			t.Errorf("%s %v: %v, want %q", token, header, err, want)
		}
	}
	const noID, hasResult = "does not carry the Nats-Msg-Id", "the call has its result"
	publish("sevt_1", nil, noID) // before the first call
	done := r.begun(t.Context(), r.handler(false).Call, "sevt_1")
	m := r.took()
	own := m.Headers().Get(nats.MsgIdHdr)
	claim := func(expected string) nats.Header {
		return nats.Header{tools.OutcomeHeader: {tools.OutcomeBegun}, jetstream.ExpectedLastSubjSeqHeader: {expected}, nats.MsgIdHdr: {"claim." + nats.NewInbox()}}
	}
	publish("sevt_1", nats.Header{nats.MsgIdHdr: {"sevt_1"}}, noID)
	publish("sevt_2", nats.Header{nats.MsgIdHdr: {own}}, noID) // the id of another job
	publish("sevt_1", nats.Header{tools.OutcomeHeader: {tools.OutcomeBegun}}, "the claim does not carry")
	publish("sevt_1", claim("0"), "")
	publish("sevt_1", claim("0"), "wrong last sequence")
	publish("sevt_1", nats.Header{nats.MsgIdHdr: {own}}, "")
	r.is(done, "outside")
	s, err := r.other.Stream(t.Context(), tools.ResultStream)
	if err != nil {
		t.Fatal(err)
	}
	last, err := s.GetLastMsgForSubject(t.Context(), "toolhand.results.sevt_1")
	if err != nil {
		t.Fatal(err)
	}
	publish("sevt_1", claim(strconv.FormatUint(last.Sequence, 10)), hasResult)
	publish("sevt_1", nats.Header{nats.MsgIdHdr: {"other"}}, noID)
	if now, err := s.GetLastMsgForSubject(t.Context(), "toolhand.results.sevt_1"); err != nil || now.Sequence != last.Sequence {
		t.Errorf("the result is %+v, %v", now, err)
	}
}

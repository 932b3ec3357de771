package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/testkit"
	"toolhand/internal/tools"
	"toolhand/internal/tools/handlertest"
	toolnats "toolhand/internal/tools/nats"
	"toolhand/internal/tools/natswire"
	"toolhand/internal/tools/queue"
)

// queueRig is a server with JetStream, the connection of a session's worker, and
// that of who works off its queue.
type queueRig struct {
	t     *testing.T
	srv   *server.Server
	store string
	port  int
	nc    *nats.Conn
	other jetstream.JetStream
}

func newQueueRig(t *testing.T) *queueRig {
	t.Helper()
	t.Parallel() // each has a server of its own, and waits more than it works
	r := &queueRig{t: t, store: t.TempDir(), port: server.RANDOM_PORT}
	r.begin()
	t.Cleanup(func() { r.end() })
	r.nc = handlertest.DialNATS(t, r.srv.ClientURL())
	var err error
	if r.other, err = jetstream.New(handlertest.DialNATS(t, r.srv.ClientURL())); err != nil {
		t.Fatal(err)
	}
	return r
}

// begin starts the server, on the port that it had before.
func (r *queueRig) begin() {
	r.t.Helper()
	opts := handlertest.NATSOptions(r.port)
	opts.JetStream, opts.StoreDir = true, r.store
	srv, err := server.NewServer(opts)
	if err != nil {
		r.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		r.t.Fatal("the NATS server does not start")
	}
	r.srv, r.port = srv, opts.Port
}

func (r *queueRig) end() { r.srv.Shutdown(); r.srv.WaitForShutdown() }

// handler makes the handler of the tool job in a queue of its own, as another
// process would.
func (r *queueRig) handler(idempotent bool, with ...func(*queue.Options)) tools.Resumer {
	r.t.Helper()
	opts := queue.Options{Conn: func() (*nats.Conn, error) { return r.nc, nil }, AckWait: 200 * time.Millisecond}
	for _, f := range with {
		f(&opts)
	}
	q := queue.New(opts)
	q.LookEvery(100 * time.Millisecond)
	r.t.Cleanup(q.Close)
	h, err := queue.NewHandler(toolnats.Config{}, tools.Common{Name: "job", Idempotent: idempotent}, q)
	if err != nil {
		r.t.Fatal(err)
	}
	return h.(tools.Resumer)
}

func jobCall(id string) tools.Call {
	return tools.Call{ID: id, Tool: "job", Session: "sesn_1", Input: []byte(`{"n":1}`), Deadline: time.Now().Add(time.Minute)}
}

// answer is what a call came to.
type answer struct {
	r   tools.Result
	err error
}

// begun calls beside the test.
func (r *queueRig) begun(ctx context.Context, call func(context.Context, tools.Call) (tools.Result, error), id string) chan answer {
	done := make(chan answer, 1)
	go func() {
		res, err := call(ctx, jobCall(id))
		done <- answer{res, err}
	}()
	return done
}

// took takes the next job, as a program that works off the queue does.
func (r *queueRig) took() jetstream.Msg {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		c, err := r.other.Consumer(r.t.Context(), natswire.JobStream, "job")
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		if m, err := c.Next(jetstream.FetchMaxWait(time.Second)); err == nil {
			return m
		}
	}
	r.t.Fatal("there is no job")
	return nil
}

// handIn publishes a result as the documentation says.
func (r *queueRig) handIn(m jetstream.Msg, outcome, text string) {
	r.t.Helper()
	msg := nats.NewMsg(m.Headers().Get(natswire.ResultSubjectHeader))
	msg.Header.Set(nats.MsgIdHdr, m.Headers().Get(nats.MsgIdHdr))
	if outcome != "" {
		msg.Header.Set(natswire.OutcomeHeader, outcome)
	}
	msg.Data = []byte(text)
	if _, err := r.other.PublishMsg(r.t.Context(), msg); err != nil {
		r.t.Fatal(err)
	}
	if err := m.DoubleAck(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// jobs is how many jobs are in the queue.
func (r *queueRig) jobs() uint64 {
	r.t.Helper()
	s, err := r.other.Stream(r.t.Context(), natswire.JobStream)
	if err != nil {
		return 0
	}
	return s.CachedInfo().State.Msgs
}

func (r *queueRig) is(done chan answer, want string) {
	r.t.Helper()
	select {
	case a := <-done:
		if a.err != nil || handlertest.Text(r.t, a.r) != want {
			r.t.Errorf("%s, %v, want %q", a.r.Content, a.err, want)
		}
	case <-time.After(10 * time.Second):
		r.t.Fatalf("no answer, want %q", want)
	}
}

func (r *queueRig) lost(done chan answer, why string) {
	r.t.Helper()
	select {
	case a := <-done:
		var lost *tools.LostError
		if !errors.As(a.err, &lost) || !strings.Contains(a.err.Error(), why) {
			r.t.Errorf("%s, %v, want lost: %s", a.r.Content, a.err, why)
		}
	case <-time.After(10 * time.Second):
		r.t.Fatalf("no answer, want lost: %s", why)
	}
}

// What a job has with it, and what a result says.
func TestQueueJobAndResult(t *testing.T) {
	r := newQueueRig(t)
	for _, idempotent := range []bool{false, true} {
		id := fmt.Sprint("sevt_", idempotent)
		done := r.begun(t.Context(), r.handler(idempotent).Call, id)
		m := r.took()
		for header, want := range map[string]string{
			"Tool-Name": "job", "Tool-Use-Id": id, "Session-Id": "sesn_1", "Idempotency-Key": id,
			natswire.ResultSubjectHeader: "toolhand.results." + id, natswire.ClaimHeader: map[bool]string{false: "0"}[idempotent],
		} {
			if got := m.Headers().Get(header); got != want {
				t.Errorf("%s is %q, want %q", header, got, want)
			}
		}
		if own := m.Headers().Get("Nats-Msg-Id"); len(own) < 32 || strings.Contains(own, id) {
			t.Errorf("the job's own id is %q", own)
		}
		if m.Subject() != "toolhand.jobs.job" || string(m.Data()) != `{"n":1}` {
			t.Errorf("%s: %s", m.Subject(), m.Data())
		}
		r.handIn(m, "", "done")
		r.is(done, "done")
		if n := r.jobs(); n != 0 {
			t.Errorf("%d jobs are left", n)
		}
	}
}

// The same call of another process finds its job, or its result: nothing is
// published twice.
func TestQueueFindsItsJobAndItsResult(t *testing.T) {
	r := newQueueRig(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	first := r.begun(ctx, r.handler(true).Call, "sevt_1")
	over, err := r.nc.SubscribeSync("toolhand.cancel.>")
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the job is there", func() bool { return r.jobs() == 1 })
	cancel(tools.ErrLeft)
	r.lost(first, tools.ErrLeft.Error())
	if m, err := over.NextMsg(50 * time.Millisecond); err == nil {
		t.Errorf("a worker that shuts down calls its job off: %v", m)
	}
	second := r.begun(t.Context(), r.handler(true).Call, "sevt_1")
	m := r.took()
	r.handIn(m, "", "done")
	r.is(second, "done")
	r.is(r.begun(t.Context(), r.handler(true).Call, "sevt_1"), "done")
	r.is(r.begun(t.Context(), r.handler(false).Call, "sevt_1"), "done")
	if n := r.jobs(); n != 0 {
		t.Errorf("%d jobs are left", n)
	}
}

// Resume waits for the result of a job, whether it is there or comes.
func TestQueueResume(t *testing.T) {
	r := newQueueRig(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	first := r.begun(ctx, r.handler(false).Call, "sevt_1")
	m := r.took()
	cancel(tools.ErrLeft)
	<-first
	second := r.begun(t.Context(), r.handler(false).Resume, "sevt_1")
	r.handIn(m, "", "done")
	r.is(second, "done")
	r.is(r.begun(t.Context(), r.handler(false).Resume, "sevt_1"), "done")
	short, stop := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("too late"))
	defer stop()
	r.lost(r.begun(short, r.handler(false).Resume, "sevt_other"), "too late")
	if n := r.jobs(); n != 0 {
		t.Errorf("Resume published a job: %d", n)
	}
}

// A job that nobody waits for is taken back, and its taker is told.
func TestQueueCallOff(t *testing.T) {
	r := newQueueRig(t)
	over, err := r.nc.SubscribeSync("toolhand.cancel.sevt_1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	done := r.begun(ctx, r.handler(false).Call, "sevt_1")
	testkit.Eventually(t, "the job is there", func() bool { return r.jobs() == 1 })
	cancel(errors.New("interrupted"))
	r.lost(done, "interrupted")
	if m, err := over.NextMsg(5 * time.Second); err != nil || m.Header.Get("Tool-Use-Id") != "sevt_1" {
		t.Errorf("%v, %v", m, err)
	}
	if n := r.jobs(); n != 0 {
		t.Errorf("%d jobs are left", n)
	}
}

// asks asks for jobs, of which there must be none, until it is told to end: the
// server looks for silent takers when somebody asks.
func (r *queueRig) asks() (end func()) {
	ctx, stop := context.WithCancel(r.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if c, err := r.other.Consumer(ctx, natswire.JobStream, "job"); err == nil {
				if again, err := c.Next(jetstream.FetchMaxWait(100 * time.Millisecond)); err == nil {
					r.t.Errorf("handed out again: %v", again.Headers())
				}
			}
		}
	}()
	return func() { stop(); <-ended }
}

// Who takes a job and is gone before it says that it begins has surely not run it:
// it can't begin it any more, and another job of the call may.
func TestQueueTakerGoneBeforeItBegan(t *testing.T) {
	for _, admitted := range []bool{false, true} {
		t.Run(fmt.Sprint("admitted ", admitted), func(t *testing.T) {
			takerGoneBeforeItBegan(t, func(o *queue.Options) { o.Admitted = admitted })
		})
	}
}

func takerGoneBeforeItBegan(t *testing.T, with func(*queue.Options)) {
	r := newQueueRig(t)
	h := r.handler(false, with)
	done := r.begun(t.Context(), h.Call, "sevt_1")
	m := r.took()
	nobody := r.asks()
	var unavailable *tools.UnavailableError
	if a := <-done; !errors.As(a.err, &unavailable) || !strings.Contains(a.err.Error(), "had not begun") {
		t.Errorf("%s, %v", a.r.Content, a.err)
	}
	testkit.Eventually(t, "the job is gone", func() bool { return r.jobs() == 0 })
	nobody()
	late := nats.NewMsg(m.Headers().Get(natswire.ResultSubjectHeader))
	late.Header.Set(natswire.OutcomeHeader, natswire.OutcomeBegun)
	late.Header.Set(jetstream.ExpectedLastSubjSeqHeader, m.Headers().Get(natswire.ClaimHeader))
	if _, err := r.other.PublishMsg(t.Context(), late); err == nil {
		t.Error("it begins late")
	}
	done = r.begun(t.Context(), h.Call, "sevt_1")
	again := r.took()
	if claim := again.Headers().Get(natswire.ClaimHeader); claim == m.Headers().Get(natswire.ClaimHeader) {
		t.Errorf("both jobs have the claim %q", claim)
	}
	r.handIn(again, "", "done")
	r.is(done, "done")
}

// Who is silent about a job that may not run twice loses it; one that may is handed
// out again. What says that it begins is no result.
func TestQueueSilentTaker(t *testing.T) {
	r := newQueueRig(t)
	done := r.begun(t.Context(), r.handler(false).Call, "sevt_1")
	m := r.took()
	begins := nats.NewMsg(m.Headers().Get(natswire.ResultSubjectHeader))
	begins.Header.Set(natswire.OutcomeHeader, natswire.OutcomeBegun)
	begins.Header.Set(jetstream.ExpectedLastSubjSeqHeader, m.Headers().Get(natswire.ClaimHeader))
	if _, err := r.other.PublishMsg(t.Context(), begins); err != nil {
		t.Fatal(err)
	}
	begins.Header.Set(jetstream.ExpectedLastSubjSeqHeader, "0")
	if _, err := r.other.PublishMsg(t.Context(), begins); err == nil {
		t.Error("it can begin twice")
	}
	nobody := r.asks()
	r.lost(done, "silent about it for 400ms")
	nobody()
	testkit.Eventually(t, "the job is gone", func() bool { return r.jobs() == 0 })
	r.lost(r.begun(t.Context(), r.handler(false).Resume, "sevt_1"), "silent about it")

	done = r.begun(t.Context(), r.handler(true).Call, "sevt_2")
	_ = r.took()
	again := r.took()
	if meta, err := again.Metadata(); err != nil || meta.NumDelivered < 2 {
		t.Errorf("%+v, %v", meta, err)
	}
	r.handIn(again, "", "done")
	r.is(done, "done")
}

// A job of a program that publishes its own is let go of like all others, with the
// subject of its result or without, and what is no job is too.
func TestQueueSilentTakerOfForeignJobs(t *testing.T) {
	r := newQueueRig(t)
	first := r.begun(t.Context(), r.handler(false).Call, "sevt_1") // makes the queue
	r.handIn(r.took(), "", "done")
	r.is(first, "done")
	for _, headers := range []nats.Header{{}, {"Tool-Use-Id": {"own.1"}}, {"Tool-Use-Id": {"own_2"}, natswire.ResultSubjectHeader: {"somewhere.else"}}} {
		if _, err := r.other.PublishMsg(t.Context(), &nats.Msg{Subject: "toolhand.jobs.job", Header: headers}); err != nil {
			t.Fatal(err)
		}
		_ = r.took()
	}
	testkit.Eventually(t, "all are gone", func() bool {
		c, err := r.other.Consumer(t.Context(), natswire.JobStream, "job")
		if err == nil {
			_, _ = c.Next(jetstream.FetchMaxWait(50 * time.Millisecond)) // the server looks for silent ones then
		}
		return r.jobs() == 0
	})
	for _, id := range []string{"own.1", "own_2"} {
		r.lost(r.begun(t.Context(), r.handler(false).Resume, id), "silent about it")
	}
}

// What says that the call did not run makes room for another job of it, whose
// claim comes after that.
func TestQueueUnavailable(t *testing.T) {
	r := newQueueRig(t)
	h := r.handler(false)
	done := r.begun(t.Context(), h.Call, "sevt_1")
	r.handIn(r.took(), natswire.OutcomeUnavailable, `{"content":[{"type":"text","text":"no"}],"is_error":true}`)
	var unavailable *tools.UnavailableError
	if a := <-done; !errors.As(a.err, &unavailable) || a.err.Error() != "no" {
		t.Fatalf("%v", a.err)
	}
	done = r.begun(t.Context(), h.Call, "sevt_1")
	m := r.took()
	if id := m.Headers().Get(nats.MsgIdHdr); !strings.HasSuffix(id, ".1") || m.Headers().Get(natswire.ClaimHeader) != "1" {
		t.Errorf("the second job has the headers %v", m.Headers())
	}
	r.handIn(m, "", "done")
	r.is(done, "done")
}

// A job that is acknowledged without a result is not waited for.
func TestQueueJobWithoutResult(t *testing.T) {
	r := newQueueRig(t)
	done := r.begun(t.Context(), r.handler(false).Call, "sevt_1")
	if err := r.took().DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.lost(done, "without a result")
}

// What does not fit is told: an input to the agent, a full queue as unavailable.
func TestQueueBounds(t *testing.T) {
	r := newQueueRig(t)
	h := r.handler(false, func(o *queue.Options) { o.MaxBytes = 4 << 20 })
	call := jobCall("sevt_1")
	call.Input = []byte(`"` + strings.Repeat("x", handlertest.NATSPayload) + `"`)
	if res, err := h.Call(t.Context(), call); err != nil || !res.IsError || !strings.Contains(handlertest.Text(t, res), "call the tool with less") {
		t.Errorf("%v, %v", res.IsError, err)
	}
	call.Input = []byte(`"` + strings.Repeat("x", 3<<20) + `"`)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := h.Call(ctx, call); first <- err }()
	testkit.Eventually(t, "the job is there", func() bool { return r.jobs() == 1 })
	call.ID = "sevt_2"
	var unavailable *tools.UnavailableError
	if _, err := h.Call(t.Context(), call); !errors.As(err, &unavailable) || !unavailable.Passing || !strings.Contains(err.Error(), "takes no more jobs: maximum bytes exceeded") {
		t.Errorf("a full queue: %v", err)
	}
	cancel()
	<-first
}

// A server that is away and comes back: nothing was published, or the result is
// found.
func TestQueueServerAway(t *testing.T) {
	r := newQueueRig(t)
	h := r.handler(false, func(o *queue.Options) { o.AckWait = time.Minute })
	done := r.begun(t.Context(), h.Call, "sevt_1")
	m := r.took()
	r.end()
	var unavailable *tools.UnavailableError
	testkit.Eventually(t, "it is known to be away", func() bool { return !r.nc.IsConnected() })
	for _, f := range []func(context.Context, tools.Call) (tools.Result, error){h.Call, h.Resume} {
		if _, err := f(t.Context(), jobCall("sevt_2")); !errors.As(err, &unavailable) || !unavailable.Passing {
			t.Errorf("away: %v", err)
		}
	}
	r.begin()
	testkit.Eventually(t, "it is back", func() bool {
		_, err := r.other.Stream(t.Context(), natswire.ResultStream)
		return err == nil
	})
	r.handIn(m, "", "done")
	r.is(done, "done")
}

// Who takes jobs is seen, and that nobody does; what nobody can know is said. The
// question makes nothing.
func TestQueueLive(t *testing.T) {
	r := newQueueRig(t)
	h := r.handler(false)
	if err := handlertest.Live(t, h); !errors.Is(err, tools.ErrNotTold) || !strings.Contains(err.Error(), "no session worker has put a call") {
		t.Errorf("before the first call: %v", err)
	}
	if _, err := r.other.Stream(t.Context(), natswire.JobStream); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the question made the queue: %v", err)
	}
	done := r.begun(t.Context(), h.Call, "sevt_1")
	testkit.Eventually(t, "the job is there", func() bool { return r.jobs() == 1 })
	if err := handlertest.Live(t, h); err == nil || errors.Is(err, tools.ErrNotTold) || err.Error() != "nobody takes the jobs of job" {
		t.Errorf("nobody takes it: %v", err)
	}
	m := r.took()
	if err := handlertest.Live(t, h); err != nil {
		t.Errorf("at work: %v", err)
	}
	r.handIn(m, "", "done")
	r.is(done, "done")
	c, err := r.other.Consumer(t.Context(), natswire.JobStream, "job")
	if err != nil {
		t.Fatal(err)
	}
	waits, err := c.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer waits.Stop()
	asked := make(chan struct{})
	go func() { defer close(asked); _, _ = waits.Next() }()
	if err := handlertest.Live(t, h); err != nil {
		t.Errorf("waiting: %v", err)
	}
	waits.Stop()
	<-asked
	r.end()
	testkit.Eventually(t, "it is known to be away", func() bool { return !r.nc.IsConnected() })
	if err := handlertest.Live(t, h); err == nil || err.Error() != "the NATS server is away" {
		t.Errorf("away: %v", err)
	}
}

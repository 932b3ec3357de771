package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/testkit"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	toolnats "toolhand/internal/tools/nats"
	"toolhand/internal/tools/natswire"
	"toolhand/internal/tools/queue"
)

// queueRig is a rig whose server has JetStream, and the queue of who asks.
type queueRig struct {
	*rig
	queue *queue.Queue
	js    jetstream.JetStream
}

// newQueueRig makes it; who takes a job may be silent about it for ackWait.
func newQueueRig(t *testing.T, ackWait time.Duration) *queueRig {
	t.Helper()
	t.Parallel() // each has a server of its own, and waits more than it works
	srv, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, MaxPayload: 1 << 20, JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	r := &queueRig{rig: &rig{t: t, srv: srv}}
	r.nc = r.connect()
	r.queue = queue.New(queue.Options{Conn: func() (*nats.Conn, error) { return r.nc, nil }, AckWait: ackWait})
	t.Cleanup(r.queue.Close)
	if r.js, err = jetstream.New(r.nc); err != nil {
		t.Fatal(err)
	}
	return r
}

// worksOff serves with the queue; at most room calls run at once.
func (r *queueRig) worksOff(grace time.Duration, room int, specs ...registry.Manifest) *served {
	r.t.Helper()
	return r.serveWith(grace, func(c *Config) { c.Queue, c.Concurrency = true, room }, specs...)
}

type outcome struct {
	text string
	err  error
}

// put makes a call of a tool a job, and waits for its result beside the test.
func (r *queueRig) put(ctx context.Context, tool, id string, idempotent bool, deadline time.Duration) chan outcome {
	r.t.Helper()
	h, err := queue.NewHandler(toolnats.Config{}, tools.Common{Name: tool, Idempotent: idempotent}, r.queue)
	if err != nil {
		r.t.Fatal(err)
	}
	call := tools.Call{ID: id, Tool: tool, Session: "sesn_1", Thread: "sthr_1", Input: json.RawMessage(`{"n":1}`), Deadline: time.Now().Add(deadline)}
	done := make(chan outcome, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		res, err := h.Call(ctx, call)
		done <- outcome{string(res.Content), err}
	}()
	return done
}

func (r *queueRig) gives(done chan outcome, want string) {
	r.t.Helper()
	if o := <-done; o.err != nil || !strings.Contains(o.text, want) {
		r.t.Errorf("%s, %v, want %s", o.text, o.err, want)
	}
}

func (r *queueRig) left(done chan outcome, why string) {
	r.t.Helper()
	var lost *tools.LostError
	if o := <-done; !errors.As(o.err, &lost) || !strings.Contains(o.err.Error(), why) {
		r.t.Errorf("%s, %v, want lost: %s", o.text, o.err, why)
	}
}

// empty waits until no job is left.
func (r *queueRig) empty() {
	r.t.Helper()
	testkit.Eventually(r.t, "the queue is empty", func() bool {
		s, err := r.js.Stream(r.t.Context(), natswire.JobStream)
		return err == nil && s.CachedInfo().State.Msgs == 0
	})
}

// What a tool answers reaches who asked, and so does what kept it from answering.
func TestQueueOutcomes(t *testing.T) {
	r := newQueueRig(t, 5*time.Second)
	fail := func(err error) handlerFunc {
		return func(context.Context, tools.Call) (tools.Result, error) { return tools.Result{}, err }
	}
	r.worksOff(time.Second, 8,
		registry.Manifest{Name: "echo", Handler: handlerFunc(func(_ context.Context, c tools.Call) (tools.Result, error) {
			return content.Text(fmt.Sprint(c.ID, c.Session, c.Thread, string(c.Input))), nil
		})},
		registry.Manifest{Name: "lost", Handler: fail(&tools.LostError{Err: errors.New("connection reset")})},
		registry.Manifest{Name: "away", Handler: fail(&tools.UnavailableError{Err: errors.New("connection refused")})},
		registry.Manifest{Name: "big", Handler: text(strings.Repeat("x", 2<<20)), MaxResultBytes: 4 << 20},
	)
	echo, lost := r.put(t.Context(), "echo", "sevt_1", false, time.Minute), r.put(t.Context(), "lost", "sevt_2", false, time.Minute)
	away, big := r.put(t.Context(), "away", "sevt_3", false, time.Minute), r.put(t.Context(), "big", "sevt_4", true, time.Minute)
	odd := r.put(t.Context(), "echo", "sevt.*", false, time.Minute)
	r.gives(echo, `sevt_1sesn_1sthr_1{\"n\":1}`)
	r.gives(odd, `sevt.*sesn_1`)
	r.left(lost, "connection reset")
	r.gives(big, "larger than the 1048576 bytes")
	var unavailable *tools.UnavailableError
	if o := <-away; !errors.As(o.err, &unavailable) || o.err.Error() != "connection refused" {
		t.Errorf("away: %s, %v", o.text, o.err)
	}
	r.empty()
}

// Who has no room takes no job, so that those who have get the work.
func TestQueueRoom(t *testing.T) {
	r := newQueueRig(t, 5*time.Second)
	let, both := make(chan struct{}), make(chan struct{})
	var full, running, most atomic.Int32
	slow := handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
		if full.Add(1) == 2 {
			close(both)
		}
		<-let
		return content.Text("slow"), nil
	})
	r.worksOff(5*time.Second, 2, registry.Manifest{Name: "a", Handler: slow, Deadline: time.Minute, DeadlineText: "1m"})
	var first []chan outcome
	for i := range 2 {
		first = append(first, r.put(t.Context(), "a", fmt.Sprint("sevt_first", i), false, time.Minute))
	}
	<-both
	r.worksOff(5*time.Second, 8, registry.Manifest{Name: "a", Concurrency: 3, Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
		n := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(2 * time.Millisecond)
		return content.Text("quick"), nil
	})})
	var more []chan outcome
	for i := range 40 {
		more = append(more, r.put(t.Context(), "a", fmt.Sprint("sevt_", i), false, time.Minute))
	}
	for _, done := range more {
		r.gives(done, "quick")
	}
	if most.Load() > 3 {
		t.Errorf("%d ran at once", most.Load())
	}
	close(let)
	for _, done := range first {
		r.gives(done, "slow")
	}
	r.empty()
}

// A job that is worked on for longer than its taker may be silent is not taken away.
func TestQueueLongJob(t *testing.T) {
	r := newQueueRig(t, 300*time.Millisecond)
	var ran atomic.Int32
	r.worksOff(time.Second, 8, registry.Manifest{Name: "a", Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
		ran.Add(1)
		time.Sleep(time.Second)
		return content.Text("done"), nil
	})})
	once, twice := r.put(t.Context(), "a", "sevt_1", false, time.Minute), r.put(t.Context(), "a", "sevt_2", true, time.Minute)
	r.gives(once, "done")
	r.gives(twice, "done")
	if ran.Load() != 2 {
		t.Errorf("two jobs ran %d times", ran.Load())
	}
	r.empty()
}

// What is no job is dropped, what is past its deadline or was begun by somebody is
// not run, and what is called off is stopped.
func TestQueueNotRun(t *testing.T) {
	r := newQueueRig(t, 300*time.Millisecond)
	var ran sync.Map
	begun := make(chan struct{}, 1)
	s := r.worksOff(time.Second, 8, registry.Manifest{Name: "a", Handler: handlerFunc(func(ctx context.Context, c tools.Call) (tools.Result, error) {
		ran.Store(c.ID, true)
		if c.ID == "sevt_off" {
			begun <- struct{}{}
			<-ctx.Done()
		}
		return content.Text("ran"), context.Cause(ctx)
	})})
	r.gives(r.put(t.Context(), "a", "sevt_1", false, time.Minute), "ran")
	publish := func(headers map[string]string) {
		t.Helper()
		m := nats.NewMsg("toolhand.jobs.a")
		for k, v := range headers {
			m.Header.Set(k, v)
		}
		if _, err := r.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	publish(nil)
	publish(map[string]string{"Tool-Use-Id": "sevt_when", "Tool-Deadline": "soon"})
	publish(map[string]string{"Tool-Use-Id": "sevt_begun", natswire.ClaimHeader: "7"})
	testkit.Eventually(r.t, "garbage is dropped, and what was begun before is left", func() bool {
		stream, err := r.js.Stream(t.Context(), natswire.JobStream)
		return err == nil && stream.CachedInfo().State.Msgs == 1
	})
	r.gives(r.put(t.Context(), "a", "sevt_late", false, -time.Second), "did not finish within its deadline")
	ctx, cancel := context.WithCancel(t.Context())
	off := r.put(ctx, "a", "sevt_off", false, time.Minute)
	<-begun
	cancel()
	r.left(off, "canceled")
	testkit.Eventually(r.t, "nothing is open", func() bool { return s.Open() == 0 })
	for _, id := range []string{"sevt_when", "sevt_begun", "sevt_late"} {
		if _, ok := ran.Load(id); ok {
			t.Errorf("%s ran", id)
		}
	}
	r.empty() // the one that was begun by nobody that lives lapses
}

// A drain lets what runs end and takes nothing more; at the end of the grace what
// may run twice goes to the next one, and the outcome of the rest is not known.
func TestQueueDrain(t *testing.T) {
	r := newQueueRig(t, 5*time.Second)
	begun := make(chan struct{}, 3)
	let := make(chan struct{})
	wait := func(name string, idempotent bool) registry.Manifest {
		return registry.Manifest{Name: name, Idempotent: idempotent, Handler: handlerFunc(func(ctx context.Context, c tools.Call) (tools.Result, error) {
			begun <- struct{}{}
			if name == "ends" {
				<-let
				return content.Text("ended"), nil
			}
			<-ctx.Done()
			return tools.Result{}, context.Cause(ctx)
		})}
	}
	one := r.worksOff(3*time.Second, 8, wait("ends", false), wait("stays", false), wait("moves", true))
	ends, stays, moves := r.put(t.Context(), "ends", "sevt_1", false, time.Minute), r.put(t.Context(), "stays", "sevt_2", false, time.Minute), r.put(t.Context(), "moves", "sevt_3", true, time.Minute)
	for range 3 {
		<-begun
	}
	one.drain()
	testkit.Eventually(r.t, "it takes nothing more", func() bool {
		return one.cfg.Conn.NumSubscriptions() <= 2 // what calls off, and the inbox of requests
	})
	r.worksOff(time.Second, 8, registry.Manifest{Name: "ends", Handler: text("other")}, registry.Manifest{Name: "moves", Idempotent: true, Handler: text("moved")})
	for i := range 10 {
		r.gives(r.put(t.Context(), "ends", fmt.Sprint("sevt_more", i), false, time.Minute), "other")
	}
	close(let)
	r.gives(ends, "ended")
	r.left(stays, "shuts down")
	r.gives(moves, "moved")
	if left := <-one.left; left != 2 {
		t.Errorf("%d calls left", left)
	}
	r.empty()
}

// Behind the border a job is acknowledged on its reply subject for a while, and then with
// its id.
func TestQueueAckOfAnOldJob(t *testing.T) {
	s := New(Config{Conn: newRig(t).nc, Once: run.Once{Runner: run.Runner{Log: slog.New(slog.DiscardHandler)}}})
	msg := &nats.Msg{Reply: "$JS.ACK.x", Header: nats.Header{nats.MsgIdHdr: {"id"}}}
	for _, c := range []struct {
		border bool
		age    time.Duration
		want   string
	}{{true, time.Minute, "$JS.ACK.x"}, {true, 40 * time.Minute, natswire.AckSubject}, {false, 40 * time.Minute, "$JS.ACK.x"}} {
		j := &job{s: s, msg: msg, border: c.border, came: time.Now().Add(-c.age)}
		ack := j.ack(ackProgress)
		if ack.Subject != c.want || string(ack.Data) != ackProgress {
			t.Errorf("%+v: %+v", c, ack)
		}
		if c.want == natswire.AckSubject && (ack.Header.Get(nats.MsgIdHdr) != "id" || ack.Header.Get(natswire.AckOfHeader) != "$JS.ACK.x") {
			t.Errorf("its headers are %v", ack.Header)
		}
	}
}

// A job whose next attempt is due while draining goes to the next one: at once where the
// tool may run twice, else by another job of the call.
func TestQueueDrainHandsOverRetries(t *testing.T) {
	for _, idempotent := range []bool{false, true} {
		t.Run(fmt.Sprint("idempotent ", idempotent), func(t *testing.T) {
			r := newQueueRig(t, 5*time.Second)
			tries := make(chan struct{}, 1)
			s := r.worksOff(20*time.Second, 8, retried(tries, idempotent, &tools.UnavailableError{Err: errors.New("connection refused")}))
			done := r.put(t.Context(), "a", "sevt_1", idempotent, time.Minute)
			<-tries
			s.drain()
			if left := <-s.left; left != 0 {
				t.Errorf("%d calls left", left)
			}
			r.worksOff(time.Second, 8, registry.Manifest{Name: "a", Idempotent: idempotent, Handler: text("two")})
			if !idempotent {
				var unavailable *tools.UnavailableError
				if o := <-done; !errors.As(o.err, &unavailable) || !unavailable.Passing {
					t.Fatalf("%s, %v", o.text, o.err)
				}
				done = r.put(t.Context(), "a", "sevt_1", idempotent, time.Minute) // as who asked does then
			}
			r.gives(done, "two")
			r.empty()
		})
	}
}

// Nothing is lost where takers come and go all the time.
func TestQueueTakersComeAndGo(t *testing.T) {
	r := newQueueRig(t, 5*time.Second)
	var ran sync.Map
	spec := registry.Manifest{Name: "a", Handler: handlerFunc(func(_ context.Context, c tools.Call) (tools.Result, error) {
		if _, again := ran.LoadOrStore(c.ID, true); again {
			t.Errorf("%s ran twice", c.ID)
		}
		return content.Text("done"), nil
	})}
	r.worksOff(time.Second, 2, spec)
	var all []chan outcome
	for round := range testkit.Sample(8, 3) {
		s := r.worksOff(5*time.Second, 4, spec)
		for i := range 40 {
			all = append(all, r.put(t.Context(), "a", fmt.Sprint("sevt_", round, "_", i), false, time.Minute))
		}
		r.gives(all[len(all)-1-round], "done")
		all = append(all[:len(all)-1-round], all[len(all)-round:]...)
		s.drain()
		<-s.left
	}
	for _, done := range all {
		r.gives(done, "done")
	}
	r.empty()
}

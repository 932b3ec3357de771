package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	"toolhand/internal/tools/natswire"
)

const (
	defaultQueueAge   = 24 * time.Hour
	defaultQueueBytes = 1 << 30
	defaultAckWait    = 30 * time.Second
	// maxDuplicates bounds how long the server knows the ids of jobs.
	maxDuplicates = 10 * time.Minute
	// maxDeliver is how often the job of an idempotent tool is handed out.
	maxDeliver = 5

	exhausted = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + natswire.JobStream + ".*"
)

// tooSmall are the codes of errors that say that the account, or the server, has
// less storage than the streams need.
var tooSmall = []jetstream.ErrorCode{10002, 10023, 10047, 10122}

// deletions tell that somebody has deleted what the queue is made of.
var deletions = []string{
	"$JS.EVENT.ADVISORY.STREAM.DELETED." + natswire.JobStream, "$JS.EVENT.ADVISORY.STREAM.DELETED." + natswire.ResultStream,
	"$JS.EVENT.ADVISORY.CONSUMER.DELETED." + natswire.JobStream + ".*",
}

var errQueueAway = errors.New("the NATS server is away")

// Options say where the job queue is and what bounds it.
type Options struct {
	// Conn gives the connection, as for [toolnats.New]. Nil: there is none.
	Conn func() (*nats.Conn, error)
	// Replicas of the streams, on a cluster. Zero means 1.
	Replicas int
	// MaxAge is how long a job and a result are kept. Zero means 24 h.
	MaxAge time.Duration
	// MaxBytes bounds each of the two streams. Zero means 1 GiB.
	MaxBytes int64
	// AckWait is how long who took a job may be silent about it. Zero means
	// 30 s.
	AckWait time.Duration
	// Admitted says that whoever takes jobs publishes through [Queue.Admit] alone: a
	// claim then carries a number that only who took the job knows.
	Admitted bool
	// Log receives what happens. Nil discards.
	Log *slog.Logger
}

// Queue is the job queue as session workers see it: it makes the streams, and a
// consumer for each tool, when a call first needs them and whenever the connection
// was made again. Handlers of many tools share it. It is safe for use by many
// goroutines; Close it before its connection.
type Queue struct {
	opts Options
	look time.Duration // how often a result is looked for; set before the first call

	gate chan struct{} // held while streams and consumers are made
	// now is what is made; guarded by gate.
	now *jobQueue
	// ids outlive streams that are deleted; guarded by gate.
	ids *jobIDs
	// stale reports that somebody has deleted one of the streams or consumers:
	// they are looked at, and made anew, before the next use.
	stale atomic.Bool

	mu     sync.Mutex
	closed bool
	lapses map[uint64]*time.Timer // guarded by mu; of jobs whose taker is silent
	wg     sync.WaitGroup         // of what the timers run

	refusals  int       // guarded by mu; by Admit, since the last line about them
	refusedAt time.Time // guarded by mu; when that was
}

// jobQueue is the queue on one connection, as it was when it was made.
type jobQueue struct {
	nc            *nats.Conn
	js            jetstream.JetStream
	jobs, results jetstream.Stream
	ids           *jobIDs
	reconnects    uint64
	consumers     map[string]bool      // guarded by Queue.gate; name to idempotent
	told          []*nats.Subscription // what the server tells of them
}

// close ends what the server tells.
func (j *jobQueue) close() {
	for _, sub := range j.told {
		_ = sub.Unsubscribe() // it can only be gone already
	}
}

// same reports whether j has the stream of jobs that old had: sequences of one say
// nothing of another.
func (j *jobQueue) same(old *jobQueue) bool {
	return j == old || j.jobs.CachedInfo().Created.Equal(old.jobs.CachedInfo().Created)
}

// New makes the queue. Nothing is asked of NATS before the first call.
func New(opts Options) *Queue {
	if opts.Conn == nil {
		opts.Conn = func() (*nats.Conn, error) { return nil, errors.New("there is no connection to NATS here") }
	}
	opts.Replicas = max(opts.Replicas, 1)
	if opts.MaxAge <= 0 {
		opts.MaxAge = defaultQueueAge
	}
	if opts.MaxBytes <= 0 {
		opts.MaxBytes = defaultQueueBytes
	}
	if opts.AckWait <= 0 {
		opts.AckWait = defaultAckWait
	}
	opts.Log = tools.Common{Log: opts.Log}.Logger()
	return &Queue{opts: opts, look: lookEvery, gate: make(chan struct{}, 1), lapses: map[uint64]*time.Timer{}}
}

// Close ends what the queue does beside the calls. A second Close does nothing.
func (q *Queue) Close() {
	q.gate <- struct{}{}
	if q.now != nil {
		q.now.close()
		q.now = nil
	}
	<-q.gate
	q.mu.Lock()
	q.closed = true
	for seq, timer := range q.lapses {
		if timer.Stop() {
			q.wg.Done()
		}
		delete(q.lapses, seq)
	}
	q.mu.Unlock()
	q.wg.Wait()
}

// open gives the queue with the consumer of a tool in it.
func (q *Queue) open(ctx context.Context, name string, idempotent bool) (*jobQueue, error) {
	nc, err := q.opts.Conn()
	if err != nil {
		return nil, &tools.UnavailableError{Err: err}
	}
	if !nc.IsConnected() {
		return nil, errQueueAway
	}
	select {
	case q.gate <- struct{}{}:
		defer func() { <-q.gate }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	if err := q.renew(ctx, nc); err != nil {
		return nil, q.error(err)
	}
	if made, ok := q.now.consumers[name]; !ok || made != idempotent {
		if err := q.consumer(ctx, q.now, name, idempotent); err != nil {
			q.now.reconnects-- // all of it is looked at again
			return nil, q.error(err)
		}
		q.now.consumers[name] = idempotent
	}
	return q.now, nil
}

// renew makes the streams, unless that is done on this connection; gate is held.
func (q *Queue) renew(ctx context.Context, nc *nats.Conn) error {
	if !q.stale.Swap(false) && q.now != nil && q.now.nc == nc && q.now.reconnects == nc.Stats().Reconnects {
		return nil
	}
	fresh, err := q.make(ctx, nc)
	if err != nil {
		q.stale.Store(true)
		return err
	}
	if q.now != nil {
		q.now.close()
		if !fresh.same(q.now) {
			q.opts.Log.Warn("the job queue was deleted, and its jobs with it: it is made anew", "stream", natswire.JobStream)
			q.dropLapses()
		}
	}
	q.now = fresh
	return nil
}

// dropLapses forgets the silent takers of jobs that are gone.
func (q *Queue) dropLapses() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for seq, timer := range q.lapses {
		if timer.Stop() {
			q.wg.Done()
		}
		delete(q.lapses, seq)
	}
}

// error tells what passes from what stays until somebody mends it.
func (q *Queue) error(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) && slices.Contains(tooSmall, api.ErrorCode) {
		return &tools.UnavailableError{Err: fmt.Errorf("the job queue can't be made: its two streams need %d bytes each in each of %d copies: give the account that much, or set nats.queue.max_bytes to less: %w", q.opts.MaxBytes, q.opts.Replicas, err)}
	}
	if errors.As(err, &api) && api.Code < 500 || errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return &tools.UnavailableError{Err: fmt.Errorf("the job queue can't be made: %w", err)}
	}
	return fmt.Errorf("the job queue can't be made: %w", err)
}

// forget has the streams looked at again before the next job.
func (q *Queue) forget() {
	q.gate <- struct{}{} // held for queueTimeout at most
	defer func() { <-q.gate }()
	if q.now != nil {
		q.now.reconnects--
	}
}

func (q *Queue) make(ctx context.Context, nc *nats.Conn) (*jobQueue, error) {
	j := &jobQueue{nc: nc, reconnects: nc.Stats().Reconnects, consumers: map[string]bool{}}
	var err error
	if j.js, err = jetstream.New(nc); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			j.close()
		}
	}()
	// Before they are made: no deletion is missed.
	for _, subject := range deletions {
		if err = j.tell(subject, func(*nats.Msg) { q.stale.Store(true) }); err != nil {
			return nil, err
		}
	}
	common := jetstream.StreamConfig{
		Storage: jetstream.FileStorage, Replicas: q.opts.Replicas, AllowDirect: true,
		MaxAge: q.opts.MaxAge, MaxBytes: q.opts.MaxBytes, Duplicates: min(maxDuplicates, q.opts.MaxAge),
	}
	jobs := common
	jobs.Name, jobs.Subjects, jobs.Description = natswire.JobStream, []string{natswire.JobSubjects + ">"}, "calls of tools, to be worked off"
	// A full queue refuses: what it has taken is never dropped for what comes.
	jobs.Retention, jobs.Discard = jetstream.WorkQueuePolicy, jetstream.DiscardNew
	if j.jobs, err = j.js.CreateOrUpdateStream(ctx, jobs); err != nil {
		return nil, err
	}
	results := common
	results.Name, results.Subjects, results.Description = natswire.ResultStream, []string{natswire.ResultSubjects + ">"}, "what those calls came to"
	results.MaxMsgsPerSubject = 1
	if j.results, j.ids, err = q.resultStream(ctx, j.js, results); err != nil {
		return nil, err
	}
	q.ids = j.ids
	err = j.tell(exhausted, q.exhausted)
	return j, err
}

// tell has the server tell of something.
func (j *jobQueue) tell(subject string, what nats.MsgHandler) error {
	sub, err := j.nc.Subscribe(subject, what)
	if err == nil {
		j.told = append(j.told, sub)
	}
	return err
}

func (q *Queue) consumer(ctx context.Context, j *jobQueue, name string, idempotent bool) error {
	cfg := jetstream.ConsumerConfig{
		Durable: name, FilterSubject: natswire.JobSubjects + name, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: q.opts.AckWait, MaxDeliver: 1, MaxAckPending: -1,
	}
	if idempotent {
		cfg.MaxDeliver = maxDeliver
	}
	_, err := j.jobs.CreateOrUpdateConsumer(ctx, cfg)
	return err
}

// exhausted is told of a job that will not be handed out again, since who took it
// last is silent. A result that is on its way has as long again: after an outage
// of the server all who work are late.
func (q *Queue) exhausted(m *nats.Msg) {
	var advisory struct {
		Seq uint64 `json:"stream_seq"`
	}
	if json.Unmarshal(m.Data, &advisory) != nil || advisory.Seq == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.lapses[advisory.Seq] != nil {
		return
	}
	q.wg.Add(1)
	q.lapses[advisory.Seq] = time.AfterFunc(q.opts.AckWait, func() {
		defer q.wg.Done()
		if err := q.lapse(advisory.Seq); err != nil {
			q.opts.Log.Warn("a job whose taker is silent stays without a result until its deadline", "error", err)
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.lapses, advisory.Seq)
	})
}

// lapse makes a result for a job that has none, and takes it out of the queue. All
// session workers may do so at once, the first one counts.
func (q *Queue) lapse(seq uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), queueTimeout)
	defer cancel()
	q.gate <- struct{}{}
	j := q.now
	<-q.gate
	if j == nil {
		return nil
	}
	job, err := j.jobs.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil // called off, or acknowledged late
	}
	if err != nil {
		return err
	}
	subject := natswire.ResultSubject(job.Header)
	if subject == "" {
		return j.jobs.DeleteMsg(ctx, seq) // nobody can wait for it
	}
	old, err := j.last(ctx, subject)
	if err != nil {
		return err
	}
	if m, expected := q.lapsed(j.ids, job, subject, old); m != nil {
		if token := strings.TrimPrefix(subject, natswire.ResultSubjects); !j.ids.valid(token, m.Header.Get(nats.MsgIdHdr)) {
			m.Header.Set(nats.MsgIdHdr, j.ids.of(token, 0)) // of a job that is not ours
		}
		if _, err := j.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(expected)); err != nil {
			return err // also where somebody was faster
		}
	}
	return j.jobs.DeleteMsg(ctx, seq)
}

// claim is the value of [ClaimHeader] of a job; expected is the last sequence on the
// subject of its result.
func (q *Queue) claim(ids *jobIDs, token string, expected uint64) string {
	if q.opts.Admitted {
		return ids.claim(token, expected)
	}
	return strconv.FormatUint(expected, 10)
}

// lapsed is the result of a job whose taker is silent, and the sequence that must
// be the last one on its subject; nil: it has one. A job that is begun by a claim
// and was not has surely not run, and can't be begun any more with that result
// there.
func (q *Queue) lapsed(ids *jobIDs, job *jetstream.RawStreamMsg, subject string, old *lastResult) (m *nats.Msg, expected uint64) {
	id := job.Header.Get(nats.MsgIdHdr)
	if old != nil {
		expected = old.seq
		if !natswire.Begun(old.msg) && old.msg.Header.Get(nats.MsgIdHdr) == id {
			return nil, 0
		}
	}
	m = nats.NewMsg(subject)
	if id != "" {
		m.Header.Set(nats.MsgIdHdr, id)
	}
	outcome, why := natswire.OutcomeUnknown, fmt.Sprintf("who took its job from the queue was silent about it for %s", 2*q.opts.AckWait)
	claim, token := job.Header.Get(natswire.ClaimHeader), strings.TrimPrefix(subject, natswire.ResultSubjects)
	if claim != "" && (claim == ids.claim(token, expected) || claim == strconv.FormatUint(expected, 10)) {
		outcome, why = natswire.OutcomeUnavailable, "who took its job from the queue is gone, and had not begun"
	}
	reply := natswire.Reply{Result: content.Error(why), Outcome: outcome, Reason: why}
	for name, values := range reply.Header() {
		m.Header[name] = values
	}
	m.Data = reply.Data()
	return m, expected
}

// lastResult is a message of the stream of results.
type lastResult struct {
	msg *nats.Msg
	seq uint64
}

// last is the last result on a subject; nil: there is none.
func (j *jobQueue) last(ctx context.Context, subject string) (*lastResult, error) {
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	raw, err := j.results.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &lastResult{&nats.Msg{Subject: raw.Subject, Header: raw.Header, Data: raw.Data}, raw.Sequence}, nil
}

// gone reports whether a job is surely in the queue no more.
func (j *jobQueue) gone(ctx context.Context, seq uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	_, err := j.jobs.GetMsg(ctx, seq)
	return errors.Is(err, jetstream.ErrMsgNotFound)
}

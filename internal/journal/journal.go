package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"
)

// Bucket is the name of the bucket where no other is given.
const Bucket = "toolhand_calls"

const (
	defaultTimeout  = 5 * time.Second
	defaultMaxBytes = 2 << 30
	// probeEvery is how often a journal that failed is tried at most.
	probeEvery = time.Second
	// openPatience is how long a bucket on other servers is tried to be opened,
	// openPause how long between two tries.
	openPatience = 30 * time.Second
	openPause    = 250 * time.Millisecond
)

// ErrOwned says that an entry is somebody else's: the call was started, or taken
// over, by another owner, or is finished already.
var ErrOwned = errors.New("the call was started by another worker")

// TooLargeError says that a result does not fit into a message of the server. It
// will not fit later either: a shorter one must take its place.
type TooLargeError struct {
	// Size is that of the result's content, in bytes.
	Size int
	// Limit is the largest content that this entry could have, in bytes.
	Limit int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the result has %d bytes; the journal takes at most %d", e.Size, e.Limit)
}

// Options are what a journal is opened with. The zero value of a field means
// what its comment says.
type Options struct {
	// Bucket is the bucket's name. Empty: [Bucket].
	Bucket string
	// Replicas is the number of copies on a cluster. Zero: 1.
	Replicas int
	// MaxBytes bounds the bucket; when it is full, writes are refused and
	// nothing is dropped. Zero: 2 GiB.
	MaxBytes int64
	// Timeout bounds an operation in wall clock where its context has no
	// deadline of its own. Zero: 5 s.
	Timeout time.Duration
	// Sole says that nobody else writes to the bucket while this journal lives,
	// as with an embedded server: it then knows what a session has, and forgets
	// a turn at once. Where it is wrong, another's entry may be dropped.
	Sole bool
	// Writable says why nothing should be started now, such as a disk that is
	// nearly full. It must return at once. Nil: never.
	Writable func() error
	// Witness is told what the bucket must have, where the journal is [Options.Sole].
	// Nil: nobody.
	Witness Witness
	// Log receives what people should know. Nil discards.
	Log *slog.Logger
}

var (
	// ErrNoRoom says that the account may not have as much storage as the bucket
	// needs.
	ErrNoRoom = errors.New("the account has too little storage")
	// ErrGone says that somebody has deleted the bucket. It is not made anew while
	// the journal is open: what it held is lost, and with it what was started.
	ErrGone = errors.New("the journal's bucket was deleted")
)

// Journal is an open journal. Its methods may be called by many goroutines at
// once; those on one call follow one another by the caller's doing. Nothing of
// it must be closed.
type Journal struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	opts   Options // immutable, with its defaults
	prefix string  // of the subjects of entries
	writes lastWrites
	turns  *semaphore.Weighted // of sessions that are read
	reads  *semaphore.Weighted // of entries that are read

	standing standingEntries

	mu      sync.Mutex
	failing time.Time // guarded by mu; since when writes fail; zero: they don't
	lastErr error     // guarded by mu; why
	probed  time.Time // guarded by mu; when Check last wrote
}

// Open makes the bucket where it is missing, sets its limits, and returns the
// journal on it. ctx bounds it. Servers that are not [Options.Sole] get half a
// minute to be there: a cluster that has just begun has no leader, and not all
// that will keep the copies.
func Open(ctx context.Context, js jetstream.JetStream, opts Options) (*Journal, error) {
	opts.Bucket = cmp.Or(opts.Bucket, Bucket)
	opts.Replicas = cmp.Or(opts.Replicas, 1)
	opts.MaxBytes = cmp.Or(opts.MaxBytes, defaultMaxBytes)
	opts.Timeout = cmp.Or(opts.Timeout, defaultTimeout)
	if opts.Log == nil {
		opts.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	j := &Journal{js: js, opts: opts, prefix: "$KV." + opts.Bucket + ".", turns: semaphore.NewWeighted(1), reads: semaphore.NewWeighted(readers)}
	if err := j.openBucket(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := j.bound(ctx)
	defer cancel()
	if opts.Sole {
		keys, err := j.keys(ctx, "*.*")
		if err != nil {
			return nil, err
		}
		j.writes.before = map[string]bool{}
		for _, k := range keys {
			j.writes.before[sessionOf(k)] = true
		}
		j.standing.seed, j.standing.keys = maphash.MakeSeed(), map[uint64]struct{}{}
		j.stand(j.stream.CachedInfo().State.LastSeq, keys...)
	}
	return j, nil
}

// openBucket makes the bucket or sets its limits.
func (j *Journal) openBucket(ctx context.Context) error {
	for begun := time.Now(); ; {
		once, cancel := j.bound(ctx)
		stream, err := j.js.CreateOrUpdateStream(once, j.config())
		err = because(once, err)
		cancel()
		if err == nil {
			j.stream = stream
			return nil
		}
		if j.opts.Sole || ctx.Err() != nil || time.Since(begun) > openPatience || !mayPass(err) {
			if noRoom(err) {
				err = fmt.Errorf("%w: %d bytes are needed in each of %d copies: %w", ErrNoRoom, j.opts.MaxBytes, j.opts.Replicas, err)
			}
			return fmt.Errorf("the journal's bucket %s: %w", j.opts.Bucket, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(openPause):
		}
	}
}

// mayPass reports whether an error is one that waiting may mend: no answer, or
// one that says that servers are not there.
func mayPass(err error) bool {
	var e *jetstream.APIError
	if !errors.As(err, &e) {
		return true
	}
	const noPeers = 10005 // no suitable peers for placement
	return e.ErrorCode == noPeers || e.Code == http.StatusServiceUnavailable
}

// noRoom reports whether an error says that the account, or the server, does not
// have the storage that was asked for.
func noRoom(err error) bool {
	var e *jetstream.APIError
	if !errors.As(err, &e) {
		return false
	}
	switch e.ErrorCode {
	case 10002, // resource limits exceeded for account
		10023, // insufficient resources
		10028, // insufficient memory resources available
		10047, // insufficient storage resources available
		10122: // stream max bytes exceeds account limit
		return true
	}
	return false
}

// revisions is how many revisions of an entry the bucket keeps: more than one has
// in its life. A revision that is dropped for a newer one comes back where the
// server rebuilds its state after a crash and that newer one is forgotten: the
// start of a call that was answered long ago would stand there again.
const revisions = 16

// config is a bucket as every client of JetStream knows it, with what a journal
// needs: no end of an entry by age, none dropped for another, and reads that see
// what was written. With one copy a direct read does; with several it may be
// answered by one that lags, so that the leader is asked.
func (j *Journal) config() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              "KV_" + j.opts.Bucket,
		Description:       "toolhand: calls started and finished, until their results are accepted",
		Subjects:          []string{j.prefix + ">"},
		Storage:           jetstream.FileStorage,
		Replicas:          j.opts.Replicas,
		MaxMsgsPerSubject: revisions,
		MaxBytes:          j.opts.MaxBytes,
		MaxMsgs:           -1,
		MaxMsgSize:        -1,
		MaxConsumers:      -1,
		Discard:           jetstream.DiscardNew,
		DenyDelete:        true,
		AllowRollup:       true,
		AllowDirect:       j.opts.Replicas == 1,
	}
}

// bound gives an operation its end.
func (j *Journal) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, j.opts.Timeout, fmt.Errorf("the journal did not answer within %s", j.opts.Timeout))
}

// note keeps what became of a write for Status and Check.
func (j *Journal) note(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case err == nil && !j.failing.IsZero():
		j.opts.Log.Info("the journal can be written again", "after", time.Since(j.failing).Round(time.Millisecond))
		j.failing, j.lastErr = time.Time{}, nil
	case err != nil && j.failing.IsZero():
		j.opts.Log.Error("the journal can't be written", "error", err)
		j.failing, j.lastErr = time.Now(), err
	case err != nil:
		j.lastErr = err
	}
}

// Check returns why the journal can't be written, as far as is known: nil while
// writes succeed, without asking anybody. Once one has failed, Check tries for
// itself, at most once a second, until a write succeeds.
func (j *Journal) Check(ctx context.Context) error {
	failing := j.check(ctx)
	if j.opts.Writable == nil {
		return failing
	}
	switch err := j.opts.Writable(); {
	case err == nil:
		return failing
	case failing == nil:
		return err
	default:
		return fmt.Errorf("%w; the last write: %w", err, failing)
	}
}

// Look asks the server whether the bucket is there: [ErrGone] where it is not, and
// then Check says so too until a write succeeds. Other errors say nothing of it.
func (j *Journal) Look(ctx context.Context) error {
	ctx, cancel := j.bound(ctx)
	defer cancel()
	_, err := j.stream.Info(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = fmt.Errorf("%w: %s", ErrGone, j.opts.Bucket)
		j.note(err)
		return err
	}
	return because(ctx, err)
}

// Refused returns why writes are refused, whatever room there is for them: the bucket
// is gone, or, where the journal is [Options.Sole], the last write has failed. known is
// false where the server does not answer.
func (j *Journal) Refused(ctx context.Context) (known bool, why error) {
	switch err := j.Look(ctx); {
	case errors.Is(err, ErrGone):
		return true, err
	case j.opts.Sole:
		return true, j.check(ctx)
	default:
		return err == nil, nil
	}
}

// check is Check without what Writable says.
func (j *Journal) check(ctx context.Context) error {
	j.mu.Lock()
	err, ask := j.lastErr, j.lastErr != nil && time.Since(j.probed) >= probeEvery
	if ask {
		j.probed = time.Now()
	}
	j.mu.Unlock()
	if !ask {
		return err
	}
	ctx, cancel := j.bound(ctx)
	defer cancel()
	// One part, so that it is no entry's key; the next one takes its place.
	_, err = j.js.Publish(ctx, j.prefix+"=probe", nil)
	if err == nil {
		err = j.stream.Purge(ctx, jetstream.WithPurgeSubject(j.prefix+"=probe"))
	}
	err = because(ctx, err)
	j.note(err)
	return err
}

// Status is what a journal can say of itself.
type Status struct {
	// Entries is how many there are.
	Entries uint64 `json:"entries"`
	// Bytes is what they take, MaxBytes what they may.
	Bytes    uint64 `json:"bytes"`
	MaxBytes int64  `json:"max_bytes"`
	// FailingSince is since when no write has succeeded; zero while they do.
	FailingSince time.Time `json:"failing_since,omitzero"`
	// Problem is the last failure, or empty.
	Problem string `json:"problem,omitempty"`
}

// Status asks the server; an error leaves the counts at zero.
func (j *Journal) Status(ctx context.Context) (Status, error) {
	s := Status{MaxBytes: j.opts.MaxBytes}
	j.mu.Lock()
	s.FailingSince = j.failing
	if j.lastErr != nil {
		s.Problem = j.lastErr.Error()
	}
	j.mu.Unlock()
	ctx, cancel := j.bound(ctx)
	defer cancel()
	info, err := j.stream.Info(ctx)
	if err != nil {
		return s, because(ctx, err)
	}
	s.Entries, s.Bytes = info.State.NumSubjects, info.State.Bytes
	return s, nil
}

// because gives an error of an operation the reason of its context, where that
// has ended it.
func because(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), err)
}

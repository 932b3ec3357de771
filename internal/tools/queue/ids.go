package queue

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"toolhand/internal/tools/natswire"

	"github.com/nats-io/nats.go/jetstream"
)

// What the stream of results has in its metadata, which no consumer of the jobs may
// read: the key of the jobs' ids, and until when the ids of jobs from before there
// was a key are taken.
const (
	keyMetadata    = "toolhand-job-key"
	legacyMetadata = "toolhand-job-key-optional-until"
)

// jobIDs are the ids of jobs, in the header Nats-Msg-Id. One is made of the call, its
// attempt and a key that workers alone know: so all workers make the same, a server
// drops what is published twice, and nobody but who took the job can name it. It is
// immutable.
type jobIDs struct {
	key    []byte
	legacy time.Time // zero: ids of before are not taken
}

// of is the id of a job; token is the last part of its result's subject, and attempt
// the sequence of the result that made room for the job, or 0.
func (k *jobIDs) of(token string, attempt uint64) string {
	mac := hmac.New(sha256.New, k.key)
	fmt.Fprintf(mac, "%s %d", token, attempt)
	return fmt.Sprintf("%s.%d", hex.EncodeToString(mac.Sum(nil)[:16]), attempt)
}

// valid reports whether id is that of a job of the call.
func (k *jobIDs) valid(token, id string) bool {
	base, text, ok := cutLast(id, ".")
	attempt, err := strconv.ParseUint(text, 10, 64)
	if ok && err == nil && hmac.Equal([]byte(id), []byte(k.of(token, attempt))) {
		return true
	}
	if id == "" || time.Now().After(k.legacy) {
		return false
	}
	return natswire.Token(id) == token || ok && err == nil && natswire.Token(base) == token
}

// claim is what a claim of a job names as the last sequence on the subject of its result,
// which is expected, where [Queue.Admit] puts the true one in its place: a number below
// 1<<53, which JavaScript has too, that nobody can guess.
func (k *jobIDs) claim(token string, expected uint64) string {
	mac := hmac.New(sha256.New, k.key)
	fmt.Fprintf(mac, "claim %s %d", token, expected)
	return strconv.FormatUint(binary.BigEndian.Uint64(mac.Sum(nil))>>11, 10)
}

// claims reports whether claim stands for the sequence expected, as that of a job of
// before does by itself.
func (k *jobIDs) claims(token string, expected uint64, claim string) bool {
	plain := time.Now().Before(k.legacy) && claim == strconv.FormatUint(expected, 10)
	return plain || hmac.Equal([]byte(claim), []byte(k.claim(token, expected)))
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func (k *jobIDs) metadata() map[string]string {
	m := map[string]string{keyMetadata: hex.EncodeToString(k.key)}
	if !k.legacy.IsZero() {
		m[legacyMetadata] = k.legacy.UTC().Format(time.RFC3339)
	}
	return m
}

// resultStream makes the stream of results with the key of the ids in it: the one
// that is there already, for all workers must have the same. gate is held.
func (q *Queue) resultStream(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig) (jetstream.Stream, *jobIDs, error) {
	for {
		ids, err := q.identify(ctx, js)
		write := js.UpdateStream
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			write = js.CreateStream
		} else if err != nil {
			return nil, nil, err
		}
		cfg.Metadata = ids.metadata()
		stream, err := write(ctx, cfg)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) || errors.Is(err, jetstream.ErrStreamNotFound) {
			continue // another worker was faster; ctx bounds how often
		}
		return stream, ids, err
	}
}

// identify finds the key of the ids, or makes one: where the stream of results is
// from before there was a key, jobs that are under way keep their ids. Without a
// stream the error is [jetstream.ErrStreamNotFound], and the ids are for a new one.
func (q *Queue) identify(ctx context.Context, js jetstream.JetStream) (*jobIDs, error) {
	ids := q.ids
	if ids == nil {
		ids = &jobIDs{key: make([]byte, 32)}
		_, _ = rand.Read(ids.key) // never fails
	}
	stream, err := js.Stream(ctx, natswire.ResultStream)
	if err != nil {
		return ids, err
	}
	metadata := stream.CachedInfo().Config.Metadata
	if key, err := hex.DecodeString(metadata[keyMetadata]); err == nil && len(key) == len(ids.key) {
		legacy, _ := time.Parse(time.RFC3339, metadata[legacyMetadata]) // none: the zero time
		return &jobIDs{key, legacy}, nil
	}
	if q.ids == nil {
		ids.legacy = time.Now().Add(q.opts.MaxAge)
	}
	return ids, nil
}

package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// witnessName is the folder of what we know of the store's streams ourselves.
	witnessName = "toolhand.witness"
	// witnessSize is that of a file in it: written at once, within a sector.
	witnessSize = 512
)

// record is what a stream must have at least.
type record struct {
	Stream string `json:"stream"`
	// Last is the sequence of its last message that was acknowledged.
	Last uint64 `json:"last"`
	// Entries is how many subjects have a message at least; -1: nobody counts them.
	Entries int `json:"entries"`
	// Boot is the machine's, Closed that the store was closed in order. After a loss
	// of power an older record may be on disk, from before what it counts was dropped.
	Boot   string `json:"boot,omitempty"`
	Closed bool   `json:"closed,omitempty"`
	// Opening is the store's: after another one, of an older version that writes no
	// witness, entries may have been dropped too.
	Opening string `json:"opening,omitempty"`
	// Created is when the stream was made, which tells it from another one of that
	// name; zero: not known.
	Created time.Time `json:"created,omitzero"`
}

// streamState is what the server says of a stream.
type streamState struct {
	server.StreamState
	created time.Time
}

// Witness keeps beside the store what a stream must have, so that the next start
// notices where the server's files have less. It is nil for an external server, and
// does nothing then.
type Witness struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	file   *os.File // guarded by mu; nil: it could not be made
	record record   // guarded by mu
	failed bool     // guarded by mu; the log says so
	writer bool     // guarded by mu; somebody tells it of each write
	closed bool     // guarded by mu; the store may be another process's
}

// Witness returns the witness of a stream for the one that writes it.
func (b *Bus) Witness(stream string) *Witness {
	if b.store == nil {
		return nil
	}
	w := b.store.witness(stream)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writer = true
	return w
}

// Stands says that everything up to a sequence was acknowledged, and how many
// entries stand. It is called after what adds one and before what drops one, so that
// there is never less than it says, wherever the process ends. It waits for no disk.
// After an error nothing must be dropped.
func (w *Witness) Stands(last uint64, entries int) error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errClosed
	}
	w.record.Last, w.record.Entries = max(w.record.Last, last), entries
	return w.write(false)
}

// write is called under mu. Where it fails there must be no witness rather than one
// that says too much.
func (w *Witness) write(sync bool) error {
	text, err := w.record.encode()
	if err != nil {
		return err
	}
	fresh := w.file == nil
	if fresh {
		if err = os.MkdirAll(filepath.Dir(w.path), 0o700); err == nil {
			w.file, err = os.OpenFile(w.path, os.O_WRONLY|os.O_CREATE, 0o600)
		}
	}
	if err == nil {
		_, err = w.file.WriteAt(text, 0)
	}
	if err == nil && (fresh || sync) {
		err = w.file.Sync()
	}
	if err == nil {
		w.failed = false
		return nil
	}
	if !w.failed {
		w.log.Warn("the witness of the store can't be written: the next start may not notice damage", "file", w.path, "error", err)
	}
	w.failed = true
	if w.file != nil {
		_ = w.file.Close() // the error above counts
		w.file = nil
	}
	if err := os.Remove(w.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("witness of the store: %w", err)
	}
	return nil
}

func (r record) encode() ([]byte, error) {
	line, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	const sum = 10 // a space, eight digits and the end of the line
	if len(line) > witnessSize-sum {
		return nil, fmt.Errorf("the name of stream %.40s is too long", r.Stream)
	}
	line = append(line, bytes.Repeat([]byte(" "), witnessSize-sum-len(line))...)
	return fmt.Appendf(line, " %08x\n", crc32.ChecksumIEEE(line)), nil
}

var errWitness = errors.New("the witness itself can't be read")

// decode reads a record. One that is empty was never written to disk: false.
func decode(text []byte) (r record, there bool, err error) {
	if len(bytes.Trim(text, "\x00")) == 0 {
		return record{}, false, nil
	}
	if len(text) != witnessSize {
		return record{}, false, errWitness
	}
	line := text[:witnessSize-10]
	if fmt.Sprintf(" %08x\n", crc32.ChecksumIEEE(line)) != string(text[len(line):]) || json.Unmarshal(line, &r) != nil {
		return record{}, false, errWitness
	}
	return r, true, nil
}

// counts reports whether the record is the last that was written: no loss of power and
// no older version came after it.
func (r record) counts(boot, opening string) bool {
	return r.Opening == opening && (r.Closed || r.Boot == boot && boot != "")
}

// of reports whether the record is of this stream: not of one that was deleted before
// this one was made.
func (r record) of(state streamState) bool {
	return r.Created.IsZero() || r.Created.Equal(state.created)
}

// missing says what a stream lacks; empty: nothing. The opening is the last one before
// this. What a stream that nobody counts had, its deletion has ended in order; entries
// that stood are lost with it.
func (r record) missing(state streamState, there bool, boot, opening string) string {
	counts := r.counts(boot, opening)
	switch {
	case !there:
		return "the stream is gone"
	case !r.of(state) && r.Entries > 0:
		return fmt.Sprintf("it was deleted with %d entries and made anew", r.Entries)
	case !r.of(state):
		return ""
	case state.LastSeq < r.Last && (counts || r.Entries != 0):
		return fmt.Sprintf("its last message is %d, %d was acknowledged", state.LastSeq, r.Last)
	case counts && state.NumSubjects < r.Entries:
		return fmt.Sprintf("it has %d entries of %d", state.NumSubjects, r.Entries)
	}
	return ""
}

// readWitnesses reads what there must be, by the names of streams. Those that can't
// be understood are named in bad. A store of an older version has none.
func (s *store) readWitnesses() (records map[string]record, bad []string, err error) {
	files, err := os.ReadDir(filepath.Join(s.dir, witnessName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("store of NATS: %w", err)
	}
	records = map[string]record{}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(s.dir, witnessName, f.Name()))
		if err != nil {
			return nil, nil, fmt.Errorf("store of NATS: %w", err)
		}
		r, there, err := decode(text)
		switch {
		case err != nil:
			bad = append(bad, f.Name())
		case there:
			records[f.Name()] = r
		}
	}
	return records, bad, nil
}

// witness is that of a stream, made where it is missing.
func (s *store) witness(stream string) *Witness {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.witnesses[stream]
	if w == nil {
		if s.witnesses == nil {
			s.witnesses = map[string]*Witness{}
		}
		w = &Witness{path: filepath.Join(s.dir, witnessName, stream), log: s.log,
			record: record{Stream: stream, Entries: -1, Boot: bootID(), Opening: s.opening}}
		s.witnesses[stream] = w
	}
	return w
}

func (s *store) allWitnesses() map[string]*Witness {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.witnesses)
}

// renewWitnesses writes down what there is now. What was missing has been marked. Until
// the writer says how many entries stand, those that stood before do, so that what
// gets lost after a start that ends here is missed too.
func (b *Bus) renewWitnesses(streams map[string]streamState, old map[string]record, bad []string, boot string) error {
	for _, name := range bad {
		if err := os.Remove(filepath.Join(b.store.dir, witnessName, name)); err != nil {
			return fmt.Errorf("witness of the store: %w", err)
		}
	}
	for name := range old {
		if _, there := streams[name]; !there {
			if err := os.Remove(filepath.Join(b.store.dir, witnessName, name)); err != nil {
				return fmt.Errorf("witness of the store: %w", err)
			}
		}
	}
	for name, state := range streams {
		w := b.store.witness(name)
		w.mu.Lock()
		w.record.Last, w.record.Created = state.LastSeq, state.created
		if r, ok := old[name]; ok && r.of(state) && r.counts(boot, b.store.before) {
			w.record.Entries = min(r.Entries, state.NumSubjects)
		}
		err := w.write(true)
		w.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// deletedStreams tell that a stream was deleted.
const deletedStreams = "$JS.EVENT.ADVISORY.STREAM.DELETED.*"

// observe keeps the last sequences of the streams whose writers say nothing, every
// so often, until the store is closed, and notes at once when a stream is deleted.
func (b *Bus) observe(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	deleted := make(chan *nats.Msg, 16)
	if sub, err := b.nc.ChanSubscribe(deletedStreams, deleted); err != nil {
		b.log.Warn("the deletion of a stream of the store is noted late", "error", err)
	} else {
		defer func() { _ = sub.Unsubscribe() }() // it can only be gone already
	}
	for {
		select {
		case <-b.store.stop:
			b.observeOnce()
			return
		case <-deleted:
		case <-tick.C:
		}
		b.observeOnce()
	}
}

func (b *Bus) observeOnce() {
	streams, err := b.streamStates()
	if err != nil {
		return // its JetStream has stopped, which Healthy says
	}
	for name, state := range streams {
		b.store.witness(name).observe(state)
	}
	for name, w := range b.store.allWitnesses() {
		if _, there := streams[name]; !there {
			w.drop()
		}
	}
}

// observe notes what the stream is like now: of one that has a writer, only which
// stream it is.
func (w *Witness) observe(state streamState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &w.record
	switch {
	case w.writer && (w.file == nil || !r.Created.IsZero()):
		return
	case w.writer:
	case w.file != nil && r.Last == state.LastSeq && r.Created.Equal(state.created):
		return
	default:
		r.Last = state.LastSeq
	}
	r.Created = state.created
	if err := w.write(false); err != nil {
		w.log.Error("the witness of the store is out of date", "file", w.path, "error", err)
	}
}

// drop ends what the witness of a stream says that was deleted while the server ran,
// unless entries stood in it: they are lost.
func (w *Witness) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil || w.record.Entries > 0 {
		return
	}
	_ = w.file.Close() // it is removed
	w.file = nil
	w.record.Last, w.record.Created = 0, time.Time{}
	if err := os.Remove(w.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.log.Error("the witness of a stream that was deleted can't be removed", "file", w.path, "error", err)
	}
}

// closeWitnesses is called when the server has stopped in order.
func (s *store) closeWitnesses() error {
	var errs []error
	for _, w := range s.allWitnesses() {
		w.mu.Lock()
		w.closed = true
		if w.file != nil {
			w.record.Closed = true
			errs = append(errs, w.write(true))
		}
		if w.file != nil {
			errs = append(errs, w.file.Close())
			w.file = nil
		}
		w.mu.Unlock()
	}
	return errors.Join(errs...)
}

// bootID is another one after each start of the machine; empty: it is not known.
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // Linux only
	return strings.TrimSpace(string(text))
}

package bus

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// damagedName is the file that says that damage was found. The server mends its
	// files as it starts, so that only the first start can see it.
	damagedName = "toolhand.damaged"
	// DoubtFor is how long a store is doubted after damage was found in it. Only the
	// time counts during which a process has it open: no clock that is set forward
	// or back makes it shorter or longer, and a worker that is stopped for a week has
	// looked at nothing meanwhile.
	DoubtFor = 24 * time.Hour
	// markEvery is how often the file is told what is left: a process that is killed
	// counts anew from there.
	markEvery = time.Minute
	// liveAfter is how long a store must have been doubted before the time of an event
	// that comes live is taken for later than the damage. The clocks of the API's own
	// machines differ by less, and an event is on its way for less.
	liveAfter = time.Minute
)

// Damage is the mark that a store bears after damage was found in it: what was
// written before then may be missing from it.
type Damage struct {
	// Found is when that was, by the clock of then. It is for people: nothing is
	// decided by it.
	Found time.Time
	// Left is how much longer the store is doubted while it is open.
	Left time.Duration
	// Until is a time after the damage by the API's clock: a call that the API has
	// processed later was not there before it. Zero: none is known.
	Until time.Time
}

// Damage is the mark of an embedded server's store. It reports false where there is
// none, or none any more, and for an external server.
func (b *Bus) Damage() (Damage, bool) {
	if b.store == nil {
		return Damage{}, false
	}
	return b.store.mark.now(time.Now())
}

// Live tells the mark of damage, where there is one, that an event has come live which
// the API has processed at that time by its own clock. It waits for no disk.
func (b *Bus) Live(processedAt time.Time) {
	if b.store != nil {
		b.store.mark.live(time.Now(), processedAt)
	}
}

// DamagedAt is when damage was found in the store, as long as that is marked; else
// it is zero.
func (b *Bus) DamagedAt() time.Time {
	d, _ := b.Damage()
	return d.Found
}

// Trust clears the mark of damage of a store, and returns it; false: there was
// none. It is for people who have looked. Errors: [ErrStoreHeld], [fs.ErrNotExist]
// where there is no store, or what the operating system said.
func Trust(opts Options) (Damage, bool, error) {
	opts = opts.withDefaults()
	if _, err := os.Stat(opts.StoreDir); err != nil {
		return Damage{}, false, fmt.Errorf("store of NATS: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), opts.StartTimeout, fmt.Errorf("it is not free after %s", opts.StartTimeout))
	defer cancel()
	s, err := openStore(ctx, opts)
	if err != nil {
		return Damage{}, false, err
	}
	was, err := s.mark.read()
	if err == nil && was.Left > 0 {
		err = s.mark.clear()
	}
	if err = errors.Join(err, s.release()); err != nil {
		return Damage{}, false, fmt.Errorf("mark of damage: %w", err)
	}
	return was, was.Left > 0, nil
}

// openMark marks the store where damage is found, and else reads what mark it bears.
func (s *store) openMark(found bool, now time.Time) error {
	if err := s.mark.open(found, now); err != nil {
		return fmt.Errorf("mark of damage in the store of NATS: %w", err)
	}
	return nil
}

// countDoubt counts the time since it was last counted, if that is at least so long.
func (s *store) countDoubt(least time.Duration) {
	over, err := s.mark.count(time.Now(), least)
	switch {
	case err != nil:
		s.log.Warn("how long the store is doubted yet can't be written down: the next start doubts it longer", "error", err)
	case over:
		s.log.Info("the store is not doubted any more: the mark of damage has expired", "dir", s.dir)
	}
}

// mark is the mark of damage, in a file and in memory.
type mark struct {
	path string // immutable

	mu    sync.Mutex
	found time.Time     // guarded by mu
	left  time.Duration // guarded by mu, as at the time counted; 0: there is no mark
	// counted is guarded by mu. It has the process's own, monotonic time.
	counted time.Time
	until   time.Time // guarded by mu; see [Damage]
}

func (m *mark) now(now time.Time) (Damage, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if left := m.left - now.Sub(m.counted); m.left > 0 && left > 0 {
		return Damage{Found: m.found, Left: left, Until: m.until}, true
	}
	return Damage{}, false
}

// live takes the first time that is surely later than the damage. The file has it when
// what is left is written next: until then another process takes a later one.
func (m *mark) live(now, processedAt time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if left := m.left - now.Sub(m.counted); m.left > 0 && m.until.IsZero() && left <= DoubtFor-liveAfter {
		m.until = processedAt
	}
}

func (m *mark) open(found bool, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if found {
		m.found, m.left, m.counted, m.until = now, DoubtFor, now, time.Time{}
		return m.write()
	}
	d, err := m.read()
	m.found, m.left, m.counted, m.until = d.Found, d.Left, now, d.Until
	return err
}

// count takes the time that has passed from what is left, and reports whether that
// was the last of it.
func (m *mark) count(now time.Time, least time.Duration) (over bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	passed := now.Sub(m.counted)
	if m.left <= 0 || passed < least && passed < m.left {
		return false, nil
	}
	m.left, m.counted = max(m.left-passed, 0), now
	if m.left > 0 {
		return false, m.write()
	}
	return true, m.clear()
}

// read reads the file: when damage was found, in a second line what is left, and in a
// third one, once it is known, a time of the API after that. The second line is missing
// where an older version wrote it.
func (m *mark) read() (Damage, error) {
	text, err := os.ReadFile(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return Damage{}, nil
	}
	if err != nil {
		return Damage{}, err
	}
	when, rest, _ := strings.Cut(string(text), "\n")
	rest, until, _ := strings.Cut(rest, "\n")
	d := Damage{Left: DoubtFor}
	if d.Found, err = time.Parse(time.RFC3339Nano, strings.TrimSpace(when)); err != nil {
		// Damaged as well: its own time is what is left.
		info, err := os.Stat(m.path)
		if err != nil {
			return Damage{}, err
		}
		d.Found = info.ModTime()
		return d, nil
	}
	if left, err := time.ParseDuration(strings.TrimSpace(rest)); err == nil && left > 0 && left < DoubtFor {
		d.Left = left
	}
	d.Until, _ = time.Parse(time.RFC3339Nano, strings.TrimSpace(until)) // else zero
	return d, nil
}

// write puts the file in its place as a whole, or not at all. mu is held.
func (m *mark) write() error {
	text := m.found.UTC().Format(time.RFC3339Nano) + "\n" + m.left.String() + "\n"
	if !m.until.IsZero() {
		text += m.until.UTC().Format(time.RFC3339Nano) + "\n"
	}
	return errors.Join(replace(m.path, []byte(text)), m.syncFolder())
}

func (m *mark) clear() error {
	if err := os.Remove(m.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return m.syncFolder()
}

func (m *mark) syncFolder() error {
	folder, err := os.Open(filepath.Dir(m.path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// replace writes a file as a whole, or not at all.
func replace(path string, text []byte) error {
	if err := writeSynced(path+".new", text); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

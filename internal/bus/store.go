package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// StoreDir says where the embedded server keeps its files: configured, else the
// first of $STATE_DIRECTORY (systemd may give several, divided by colons), else
// ./data.
func StoreDir(configured string, lookupEnv func(string) (string, bool)) string {
	if configured != "" {
		return configured
	}
	state, _ := lookupEnv("STATE_DIRECTORY")
	if first, _, _ := strings.Cut(state, ":"); first != "" {
		return first
	}
	return "data"
}

const (
	lockName  = "toolhand.lock"
	probeName = "toolhand.probe"
)

// store is the directory of an embedded server, reserved for this process.
type store struct {
	dir  string
	lock *os.File
	// opening is what the lock's file has of this opening once the store was compared
	// with its witnesses, before what it has until then, of the last opening that got
	// so far: an older version writes none. Both are immutable.
	opening, before string

	minFree int64
	log     *slog.Logger

	stop chan struct{}
	done sync.WaitGroup

	mark mark

	mu        sync.Mutex
	witnesses map[string]*Witness // guarded by mu; by stream

	free int64 // guarded by mu; bytes
	err  error // guarded by mu; why nothing should be written
}

// openStore makes the directory where it is missing, closes it to others, and
// reserves it.
func openStore(ctx context.Context, opts Options) (*store, error) {
	if opts.StoreDir == "" {
		return nil, errors.New("the embedded NATS server needs a directory for its store")
	}
	dir, err := filepath.Abs(opts.StoreDir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("store of NATS: %w", err)
	}
	if dir, err = closeStore(dir); err != nil {
		return nil, fmt.Errorf("store of NATS can't be closed to other users: %w", err)
	}
	lock, before, err := lockStore(ctx, dir)
	if err != nil {
		return nil, err
	}
	s := &store{dir: dir, lock: lock, opening: rand.Text()[:8], before: before, minFree: opts.MinFree, log: opts.Log, stop: make(chan struct{}),
		mark: mark{path: filepath.Join(dir, damagedName)}}
	if err := s.writeHolder(before); err != nil {
		_ = s.release() // the error above counts
		return nil, err
	}
	return s, nil
}

const (
	// filesName is the folder of the server's own files.
	filesName = "jetstream"
	// ownFolder holds the store where the folder that was asked for is not ours, such
	// as the root of a volume.
	ownFolder = "toolhand"
)

// place is where a store stands: in dir or in a folder of ours in it; empty: nowhere. A
// store that has lost the server's files stands where its other files are. Made anew
// elsewhere it would be sound and empty, and the calls that it had would run again.
func place(dir string) (string, error) {
	own := filepath.Join(dir, ownFolder)
	for _, p := range []struct {
		dir   string
		names []string
	}{
		{dir, []string{filesName}},
		{own, []string{filesName, witnessName, lockName, damagedName}},
		{dir, []string{witnessName, lockName, damagedName}},
	} {
		for _, name := range p.names {
			_, err := os.Lstat(filepath.Join(p.dir, name))
			switch {
			case err == nil:
				return p.dir, nil
			case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
				return "", err
			}
		}
	}
	return "", nil
}

// closeStore closes the directory to others and returns where the store is. One that
// stands stays where it is; in a directory that is not ours a new one gets a folder of
// ours.
func closeStore(dir string) (string, error) {
	at, err := place(dir)
	if err != nil {
		return "", err
	}
	own := filepath.Join(dir, ownFolder)
	if at != own {
		err := os.Chmod(dir, 0o700)
		if err == nil || !errors.Is(err, fs.ErrPermission) {
			return dir, err
		}
	}
	if at == dir {
		return dir, makeClosed(filepath.Join(dir, filesName))
	}
	return own, makeClosed(own)
}

// makeClosed makes a folder, where it is missing, that is closed to others.
func makeClosed(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700)
}

// copyPause is how long a start waits for one that copies the store before it tries
// the lock again.
const copyPause = 20 * time.Millisecond

// lockStore takes the lock that goes with the process, however that ends. The
// file stays: whoever removed it could hold a lock that nobody sees. It says who holds
// it and which opening was the last; before is that opening. Those that copy the store
// are waited for, until ctx ends: they keep no worker from starting.
func lockStore(ctx context.Context, dir string) (f *os.File, before string, err error) {
	path := filepath.Join(dir, lockName)
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, "", fmt.Errorf("store of NATS: %w", err)
	}
	err = flock(f, syscall.LOCK_EX)
	for errors.Is(err, syscall.EWOULDBLOCK) && flock(f, syscall.LOCK_SH) == nil {
		if err = flock(f, syscall.LOCK_UN); err != nil {
			break
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, "", fmt.Errorf("store of NATS is being copied: %s: %w", dir, context.Cause(ctx))
		case <-time.After(copyPause):
		}
		err = flock(f, syscall.LOCK_EX)
	}
	pid, before := lastHolder(f)
	if err == nil {
		return f, before, nil
	}
	_ = f.Close()
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, "", fmt.Errorf("store of NATS can't be locked: %s: %w", path, err)
	}
	return nil, "", fmt.Errorf("%w; stop it, or give this one another nats.store_dir", heldError(pid, dir))
}

// flock takes a lock, changes it or gives it up, and waits for nobody.
func flock(f *os.File, how int) error {
	return syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
}

// lastHolder is what a lock's file says of who took it last.
func lastHolder(lock *os.File) (pid, opening string) {
	text, _ := io.ReadAll(io.NewSectionReader(lock, 0, 40))
	line, _, _ := strings.Cut(string(text), "\n")
	pid, opening, _ = strings.Cut(line, " ")
	return pid, opening
}

func heldError(pid, dir string) error {
	if pid == "" {
		return fmt.Errorf("%w: %s", ErrStoreHeld, dir)
	}
	return fmt.Errorf("%w (pid %s): %s", ErrStoreHeld, pid, dir)
}

// writeHolder writes down who holds the store, for people and for the message of
// [ErrStoreHeld], and an opening. What stood there is replaced at once: a process that
// ends here leaves the one or the other.
func (s *store) writeHolder(opening string) error {
	line := fmt.Appendf(nil, "%d %s\n", os.Getpid(), opening)
	_, err := s.lock.WriteAt(line, 0)
	if err == nil {
		err = s.lock.Truncate(int64(len(line)))
	}
	if err == nil {
		err = s.lock.Sync()
	}
	if err != nil && !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("store of NATS: %w", err)
	}
	return nil
}

// release gives the store up.
func (s *store) release() error { return s.lock.Close() }

// watch looks at the store now and then every so often, until stopWatch.
func (s *store) watch(every time.Duration) {
	s.look()
	s.done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				s.countDoubt(0)
				return
			case <-tick.C:
				s.look()
				s.countDoubt(markEvery)
			}
		}
	})
}

// stopWatch is called once.
func (s *store) stopWatch() {
	close(s.stop)
	s.done.Wait()
}

// look finds out whether the store can be written, and tells when that changes.
func (s *store) look() {
	free, err := s.examine()
	s.mu.Lock()
	was := s.err
	s.free, s.err = free, err
	s.mu.Unlock()
	switch {
	case err != nil && was == nil:
		s.log.Error("the store should not be written to", "dir", s.dir, "error", err)
	case err == nil && was != nil:
		s.log.Info("the store can be written again", "dir", s.dir, "free", free)
	}
}

func (s *store) examine() (free int64, err error) {
	free, err = freeBytes(s.dir)
	if err != nil {
		return 0, fmt.Errorf("free space of %s: %w", s.dir, err)
	}
	path := filepath.Join(s.dir, probeName)
	if err := os.WriteFile(path, []byte("writable\n"), 0o600); err != nil {
		_ = os.Remove(path) // empty, on a full disk
		return free, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return free, err
	}
	if free < s.minFree {
		return free, fmt.Errorf("%w: %s has %d MiB free, at least %d are needed: make room", ErrLowSpace, s.dir, free>>20, s.minFree>>20)
	}
	return free, nil
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// state is what the last look found.
func (s *store) state() (free int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.free, s.err
}

package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// CopyStream copies what a store has of a stream into the folder to, which is then a
// store of its own. A server that opens a store mends and cuts its files: who only
// wants to look opens a copy, and what the next start has to find is still there.
// Nothing of the store is changed, and who opens it meanwhile waits. Errors:
// [ErrStoreHeld], [fs.ErrNotExist] where there is no store or no such stream in it,
// ctx's cause, or what the operating system said.
func CopyStream(ctx context.Context, storeDir, stream, to string) error {
	dir, err := filepath.Abs(storeDir)
	if err != nil {
		return err
	}
	if at, err := place(dir); err != nil {
		return fmt.Errorf("store of NATS: %w", err)
	} else if at != "" {
		dir = at
	}
	unlock, err := lockToRead(dir)
	if err != nil {
		return err
	}
	from, into := &store{dir: dir}, &store{dir: to}
	err = copyFolder(ctx, filepath.Join(from.streamsDir(), stream), filepath.Join(into.streamsDir(), stream))
	if err = errors.Join(err, unlock()); err != nil {
		return fmt.Errorf("store of NATS: %w", err)
	}
	return nil
}

// lockToRead lets those wait that open the store. Several may read it at once. Where
// there is no lock's file, no process has ever held it: it is not made.
func lockToRead(dir string) (unlock func() error, err error) {
	path := filepath.Join(dir, lockName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("store of NATS: %w", err)
	}
	if err := flock(f, syscall.LOCK_SH); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("store of NATS can't be locked: %s: %w", path, err)
		}
		pid, _ := lastHolder(f)
		return nil, heldError(pid, dir)
	}
	return f.Close, nil
}

// copyFolder copies a folder with all that is in it.
func copyFolder(ctx context.Context, from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rest, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch target := filepath.Join(to, rest); {
		case e.IsDir():
			return os.MkdirAll(target, 0o700)
		case !e.Type().IsRegular():
			return fmt.Errorf("%s is no file", path)
		default:
			return copyFile(path, target)
		}
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

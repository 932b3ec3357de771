package bus_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"toolhand/internal/bus"
)

// TestFileThatCannotBeOpened: what can't be opened says nothing about what is in it.
// The start ends with its path, nothing is moved and nothing counts as damaged.
func TestFileThatCannotBeOpened(t *testing.T) {
	for _, name := range []string{"msgs/1.blk", "meta.inf", "meta.sum"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			says, kill := play(t, "write "+dir)
			kill()
			if says != "written" {
				t.Fatal(says)
			}
			path := ownFiles(t, dir, name)[0]
			// A link to itself: no user can open it, root neither.
			if err := os.Rename(path, path+".kept"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path, path); err != nil {
				t.Fatal(err)
			}
			if b, err := bus.Open(t.Context(), bus.Options{StoreDir: dir}); err == nil {
				shut(t, b)
				t.Fatal("opened")
			} else if !strings.Contains(err.Error(), path) {
				t.Errorf("%v does not name %s", err, path)
			}
			if err := os.Rename(path+".kept", path); err != nil {
				t.Fatal(err)
			}
			isSound(t, dir)
		})
	}
}

// isSound opens a store that "write" has made.
func isSound(t *testing.T, dir string) {
	t.Helper()
	if aside, err := filepath.Glob(filepath.Join(dir, "damaged-*")); err != nil || len(aside) > 0 {
		t.Errorf("set aside: %q, %v", aside, err)
	}
	b := open(t, bus.Options{StoreDir: dir})
	if at := b.DamagedAt(); !at.IsZero() {
		t.Errorf("counts as damaged at %v", at)
	}
	if got := get(t, b, "k"); got != "v" {
		t.Errorf("k is %q", got)
	}
}

// TestNoPermission: the files belong to another user.
func TestNoPermission(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: only root can give files away")
	}
	dir := t.TempDir()
	says, kill := play(t, "write "+dir)
	kill()
	if says != "written" {
		t.Fatal(says)
	}
	path := ownFiles(t, dir, "msgs/1.blk")[0]
	giveAway := func(uid int, but string) {
		err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
			if err == nil && p != but {
				err = os.Lchown(p, uid, uid)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	giveAway(nobody, path)
	for up := filepath.Dir(dir); up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if says, _ := play(t, fmt.Sprintf("as %d %s", nobody, dir)); !strings.HasPrefix(says, "refused: ") || !strings.Contains(says, path) || !strings.Contains(says, "permission denied") {
		t.Errorf("a user without permission: %q", says)
	}
	giveAway(0, "")
	isSound(t, dir)
}

// as holds a store as another user, who writes where a third argument says so.
func as(args []string) int {
	var uid int
	if _, err := fmt.Sscan(args[0], &uid); err != nil {
		panic(err)
	}
	if err := syscall.Setgid(uid); err != nil {
		panic(err)
	}
	if err := syscall.Setuid(uid); err != nil {
		panic(err)
	}
	return hold(args[1], len(args) > 2)
}

// TestTooManyFiles: with each number of files that the process may open, the start
// succeeds or fails, and the store stays sound.
func TestTooManyFiles(t *testing.T) {
	dir := t.TempDir()
	says, kill := play(t, "write "+dir)
	kill()
	if says != "written" {
		t.Fatal(says)
	}
	refused := 0
	for n := -7; n < 7; n++ {
		says, kill := play(t, fmt.Sprintf("few %d %s", n, dir))
		kill()
		switch {
		case strings.HasPrefix(says, "refused: "):
			refused++
			t.Log(says)
		case says != "held":
			t.Errorf("with room for %d files more: %q", n, says)
		}
		if aside, _ := filepath.Glob(filepath.Join(dir, "damaged-*")); len(aside) > 0 {
			t.Fatalf("with room for %d files more: set aside %q", n, aside)
		}
		if _, err := os.Stat(filepath.Join(dir, "toolhand.damaged")); err == nil {
			t.Fatalf("with room for %d files more the store counts as damaged", n)
		}
	}
	if refused == 0 {
		t.Error("no start was refused: this shows nothing")
	}
	isSound(t, dir)
}

// few holds a store with few files to open.
func few(args []string) int {
	var n int
	if _, err := fmt.Sscan(args[0], &n); err != nil {
		panic(err)
	}
	open, err := os.ReadDir("/dev/fd")
	if err != nil {
		panic(err)
	}
	most := uint64(len(open) + n)
	limit := syscall.Rlimit{Cur: most, Max: most}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		panic(err)
	}
	ctx := context.Background()
	b, err := bus.Open(ctx, bus.Options{StoreDir: args[1]})
	if err != nil {
		fmt.Println("refused:", err)
		return 2
	}
	fmt.Println("held")
	_ = b.Close(ctx)
	return 0
}

// TestServerCannotReadAFile: the files could be opened before the server started, and
// it could not read one.
func TestServerCannotReadAFile(t *testing.T) {
	io := &fs.PathError{Op: "read", Path: "/store/1.blk", Err: syscall.EIO}
	if err := bus.UnreadableFile(fmt.Errorf("recover: %w", io)); err == nil || !strings.Contains(err.Error(), "/store/1.blk") {
		t.Errorf("an I/O error: %v", err)
	}
	for _, other := range []error{&fs.PathError{Op: "open", Path: "/store/1.blk", Err: syscall.ENOENT}, errors.New("bad checksum")} {
		if err := bus.UnreadableFile(other); err != nil {
			t.Errorf("%v stops the start", err)
		}
	}
}

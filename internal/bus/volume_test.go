package bus_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"toolhand/internal/bus"
)

const nobody = 65534

// volume is a directory that belongs to another user, who lets us write in it.
func volume(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: only root can give files away")
	}
	dir, err := os.MkdirTemp("", "volume")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startAs opens a store as another user, and kills the process that has it.
func startAs(t *testing.T, dir, want string) {
	t.Helper()
	role := fmt.Sprintf("as %d %s", nobody, dir)
	if want == "written" {
		role += " write"
	}
	says, kill := play(t, role)
	kill()
	if says != want {
		t.Fatal(says)
	}
}

// giveAway makes a user the owner of all that a directory has in it.
func giveAway(t *testing.T, dir string, uid int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && path != dir {
			err = os.Lchown(path, uid, uid)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// TestRootOfAVolume: a new store gets a folder of ours, one that stands in the root
// stays there.
func TestRootOfAVolume(t *testing.T) {
	for _, c := range []struct {
		name   string
		before bool // a store stands in the root
		mode   os.FileMode
		want   string
	}{
		{"a new store", false, 0o777, "toolhand/jetstream"},
		{"a store in the root", true, 0o777, "jetstream"},
		{"a volume of our group", false, 0o770, "toolhand/jetstream"},
		{"a volume whose files get our group", false, 0o775 | os.ModeSetgid, "toolhand/jetstream"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := volume(t)
			if err := errors.Join(os.Chown(dir, 0, nobody), os.Chmod(dir, c.mode)); err != nil {
				t.Fatal(err)
			}
			if c.before {
				if err := os.Mkdir(filepath.Join(dir, "jetstream"), 0o755); err != nil {
					t.Fatal(err)
				}
				giveAway(t, dir, nobody)
			}
			for range 2 {
				startAs(t, dir, "held")
			}
			at := filepath.Join(dir, c.want)
			closed := at
			if !c.before {
				closed = filepath.Dir(at)
			}
			if !exists(at) {
				t.Errorf("there is no %s", at)
			}
			if info, err := os.Stat(closed); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%s is %v (%v), want 0700", closed, info.Mode(), err)
			}
			if c.before && exists(filepath.Join(dir, "toolhand")) {
				t.Error("there are two stores")
			}
		})
	}
}

// TestRootOfAVolumeLosesFiles: a store without the server's files is damaged where it
// stands. It is not made anew elsewhere, where nothing would be missing from it.
func TestRootOfAVolumeLosesFiles(t *testing.T) {
	for _, lost := range [][]string{
		{"jetstream"},
		{"jetstream", "toolhand.lock"},
	} {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			dir := volume(t)
			if err := os.Mkdir(filepath.Join(dir, "jetstream"), 0o700); err != nil {
				t.Fatal(err)
			}
			giveAway(t, dir, nobody)
			startAs(t, dir, "written")
			startAs(t, dir, "held") // which knows what stands
			for _, name := range lost {
				if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			if err := bus.CopyStream(t.Context(), dir, callsStream, t.TempDir()); err == nil {
				t.Error("a stream was copied that is gone")
			}
			startAs(t, dir, "held")
			if !exists(filepath.Join(dir, "toolhand.damaged")) {
				t.Error("the store does not count as damaged")
			}
			if exists(filepath.Join(dir, "toolhand")) {
				t.Error("there are two stores")
			}
			if info, err := os.Stat(filepath.Join(dir, "jetstream")); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("the server's files are %v (%v), want 0700", info, err)
			}
			startAs(t, dir, "written")
			if err := bus.CopyStream(t.Context(), dir, callsStream, t.TempDir()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestVolumeChangesHands: a store in a folder of ours stays there when the root becomes
// ours, or when an older version has left its lock in the root.
func TestVolumeChangesHands(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"the root is ours": func(dir string) error { return os.Lchown(dir, nobody, nobody) },
		"a lock in the root": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "toolhand.lock"), nil, 0o666)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := volume(t)
			startAs(t, dir, "written")
			if err := change(dir); err != nil {
				t.Fatal(err)
			}
			startAs(t, dir, "held")
			if exists(filepath.Join(dir, "jetstream")) {
				t.Error("there are two stores")
			}
			if err := bus.CopyStream(t.Context(), dir, callsStream, t.TempDir()); err != nil {
				t.Error(err)
			}
		})
	}
}

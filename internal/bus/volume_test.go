package bus_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestRootOfAVolume: the directory belongs to another user, who lets us write in it.
func TestRootOfAVolume(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: only root can give files away")
	}
	const nobody = 65534
	for _, c := range []struct {
		name   string
		before bool // a store stands in the root
		want   string
	}{
		{"a new store", false, "toolhand/jetstream"},
		{"a store in the root", true, "jetstream"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "volume")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			if c.before {
				if err := os.Mkdir(filepath.Join(dir, "jetstream"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Lchown(filepath.Join(dir, "jetstream"), nobody, nobody); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				says, kill := play(t, fmt.Sprintf("as %d %s", nobody, dir))
				kill()
				if says != "held" {
					t.Fatal(says)
				}
			}
			at := filepath.Join(dir, c.want)
			closed := at
			if !c.before {
				closed = filepath.Dir(at)
			}
			if _, err := os.Stat(at); err != nil {
				t.Error(err)
			}
			if info, err := os.Stat(closed); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%s is %v (%v), want 0700", closed, info.Mode(), err)
			}
			if _, err := os.Stat(filepath.Join(dir, "toolhand")); c.before && err == nil {
				t.Error("there are two stores")
			}
		})
	}
}

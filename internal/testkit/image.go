package testkit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Image copies a folder that a server writes to meanwhile, as a kill in this moment
// leaves it. What is removed while it is copied makes it begin again.
func Image(t testing.TB, live string) (dir string) {
	t.Helper()
	for range 100 {
		dir = filepath.Join(t.TempDir(), "image")
		err := os.CopyFS(dir, os.DirFS(live))
		if err == nil {
			return dir
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	t.Fatalf("%s does not stand still", live)
	return ""
}

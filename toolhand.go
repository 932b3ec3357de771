// Package toolhand holds what the binary carries with it: the example tools of
// tools.d, so that the demo runs from anywhere.
package toolhand

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

//go:embed tools.d
var examples embed.FS

// UnpackTools writes the example tools into a folder that exists.
func UnpackTools(dir string) error { return Unpack(examples, "tools.d", dir) }

// Unpack writes the tools of the folder root of files into a folder that exists.
func Unpack(files fs.ReadFileFS, root, dir string) error {
	return fs.WalkDir(files, root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, root))
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		data, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if strings.HasSuffix(path, ".sh") {
			mode = 0o755
		}
		if err := os.WriteFile(to, data, mode); err != nil {
			return fmt.Errorf("unpack %s: %w", path, err)
		}
		return nil
	})
}

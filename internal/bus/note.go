package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// noteName is the file that says how long the blocks were before the server started,
// from then until what it cut off was found. A start that ends between the two leaves
// it to the next one, which could not see the cuts otherwise.
const noteName = "toolhand.blocks"

// noted is a block in the note.
type noted struct {
	Path  string `json:"path"` // relative to the streams
	Inode uint64 `json:"inode"`
	Size  int64  `json:"size"`
}

// note gives the blocks the sizes that an earlier start has noted, where that did not
// get to compare them, and writes the note for the next one.
func (s *store) note(blocks []block) error {
	path := filepath.Join(s.dir, noteName)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("store of NATS: %w", err)
	}
	var old []noted
	_ = json.Unmarshal(text, &old) // there is none, or a start ended within a full disk
	sizes, known := map[noted]int64{}, map[string]bool{}
	for _, n := range old {
		sizes[noted{Path: n.Path, Inode: n.Inode}] = n.Size
		known[n.Path] = true
	}
	var all []noted
	for i := range blocks {
		b := &blocks[i]
		rel, err := filepath.Rel(s.streamsDir(), b.path)
		if err != nil {
			return err
		}
		if len(old) > 0 && !known[rel] {
			b.late = true
			continue
		}
		n := noted{Path: rel}
		if st, ok := b.before.Sys().(*syscall.Stat_t); ok {
			n.Inode = st.Ino
		}
		b.size = max(b.size, sizes[n])
		n.Size = b.size
		all = append(all, n)
	}
	if text, err = json.Marshal(all); err != nil {
		return err
	}
	if err = replace(path, text); err == nil {
		err = s.mark.syncFolder()
	}
	if errors.Is(err, syscall.ENOSPC) {
		s.log.Warn("the sizes of the store's files can't be noted: if this start fails, the next one may not notice damage", "file", path, "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("store of NATS: %w", err)
	}
	return nil
}

// dropNote is called when what the server cut off is marked.
func (s *store) dropNote() error {
	if err := os.Remove(filepath.Join(s.dir, noteName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("store of NATS: %w", err)
	}
	return nil
}

package bus

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// maxHeld is how many block files are held open while the server starts. Of those
// beyond it a cut is found too, but not one of which nothing is left.
const maxHeld = 512

// block is a file of a stream's records, as it was before the server started. The
// server cuts it where a record can't be read; when it packs what stands in one, it
// writes another file.
type block struct {
	stream string
	number uint64
	path   string
	before fs.FileInfo
	size   int64    // before this start, and before those that did not get to compare
	late   bool     // a start made it that did not get to compare: nobody has written to it
	held   *os.File // nil above maxHeld
}

// cut is what the server cut off from a block.
type cut struct {
	stream string
	bytes  int64
	// last reports that nothing was written behind it: it is the end of the stream's
	// last block.
	last bool
}

// openFiles opens each file of the store once, as the server is about to. One that
// can't be opened or read says nothing about what is in it: the error has its path,
// and nothing was changed. The blocks are to be given to closeBlocks.
func (s *store) openFiles() (blocks []block, err error) {
	defer func() {
		if err != nil {
			closeBlocks(blocks)
			blocks = nil
		}
	}()
	root := filepath.Join(s.dir, filesName)
	if _, err := os.Lstat(root); os.IsNotExist(err) {
		return nil, nil
	}
	held := 0
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		stream, number, isBlock := s.blockOf(path)
		flags := os.O_RDONLY
		if isBlock {
			flags = os.O_RDWR
		}
		f, err := os.OpenFile(path, flags|syscall.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err == nil && info.Size() > 0 {
			if _, err = f.ReadAt(make([]byte, 1), 0); errors.Is(err, io.EOF) {
				err = nil
			}
		}
		if err != nil || !isBlock || held >= maxHeld {
			_ = f.Close() // it was read only
			f = nil
		}
		if err == nil && isBlock {
			held++
			blocks = append(blocks, block{stream: stream, number: number, path: path, before: info, size: info.Size(), held: f})
		}
		return err
	})
	if err != nil {
		return blocks, fmt.Errorf("store of NATS can't be read, nothing in it was changed: %w", err)
	}
	return blocks, nil
}

// blockOf takes the path of a block apart: STREAM/msgs/NUMBER.blk.
func (s *store) blockOf(path string) (stream string, number uint64, ok bool) {
	rest, err := filepath.Rel(s.streamsDir(), path)
	if err != nil {
		return "", 0, false
	}
	parts := strings.Split(rest, string(filepath.Separator))
	if len(parts) != 3 || parts[1] != "msgs" {
		return "", 0, false
	}
	name, ok := strings.CutSuffix(parts[2], ".blk")
	if !ok {
		return "", 0, false
	}
	number, err = strconv.ParseUint(name, 10, 64)
	return parts[0], number, err == nil
}

func closeBlocks(blocks []block) {
	for _, b := range blocks {
		if b.held != nil {
			_ = b.held.Close() // it was read only
		}
	}
}

// cuts finds out which blocks are shorter than they were.
func cuts(blocks []block) ([]cut, error) {
	last := map[string]uint64{}
	for _, b := range blocks {
		if !b.late {
			last[b.stream] = max(last[b.stream], b.number)
		}
	}
	var all []cut
	for _, b := range blocks {
		now, err := b.now()
		if err != nil {
			return nil, fmt.Errorf("store of NATS: %w", err)
		}
		if replaced := now == nil; !replaced && now.Size() < b.size {
			all = append(all, cut{b.stream, b.size - now.Size(), b.number == last[b.stream]})
		}
	}
	return all, nil
}

// now is the same file as it is now; nil: it was replaced or dropped, and not held.
func (b block) now() (fs.FileInfo, error) {
	if b.held != nil {
		return b.held.Stat()
	}
	info, err := os.Stat(b.path)
	if os.IsNotExist(err) || err == nil && !os.SameFile(info, b.before) {
		return nil, nil
	}
	return info, err
}

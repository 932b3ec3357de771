package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// descriptionsName is the folder of the descriptions that the server could read last: of
// each stream its checksum, the end of a line, and the description.
const descriptionsName = "toolhand.descriptions"

// description is what the server has in two files of a stream's folder. It replaces the
// one after the other, and leaves a stream out whose files do not fit.
type description struct{ text, sum []byte }

// description reads that of a stream; false: a file is missing.
func (s *store) description(stream string) (d description, there bool, err error) {
	folder := filepath.Join(s.streamsDir(), stream)
	if d.text, err = os.ReadFile(filepath.Join(folder, "meta.inf")); err == nil {
		d.sum, err = os.ReadFile(filepath.Join(folder, "meta.sum"))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return description{}, false, nil
	}
	return d, err == nil, err
}

// halfway reports whether d comes from a change of was that ended between the two files:
// it is another description of the same stream, with the checksum of the old one.
func (d description) halfway(was description) bool {
	var now, old struct {
		Name    string
		Created time.Time
	}
	return bytes.Equal(d.sum, was.sum) && !bytes.Equal(d.text, was.text) &&
		json.Unmarshal(d.text, &now) == nil && json.Unmarshal(was.text, &old) == nil &&
		now.Name == old.Name && now.Created.Equal(old.Created)
}

// mendDescriptions takes changes back that the end of a process has cut in half, before
// the server sees them.
func (s *store) mendDescriptions(streams []string) error {
	for _, name := range streams {
		kept, err := os.ReadFile(filepath.Join(s.dir, descriptionsName, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		d, there, err1 := s.description(name)
		if err := errors.Join(err, err1); err != nil {
			return fmt.Errorf("store of NATS: %w", err)
		}
		sum, text, _ := bytes.Cut(kept, []byte("\n"))
		if !there || !d.halfway(description{text, sum}) {
			continue
		}
		if err := replace(filepath.Join(s.streamsDir(), name, "meta.inf"), text); err != nil {
			return fmt.Errorf("store of NATS: %w", err)
		}
		s.log.Info("a change of a stream's settings had ended halfway and is taken back", "store", s.dir, "stream", name)
	}
	return nil
}

// keepDescriptions keeps those of the streams that the server could read.
func (s *store) keepDescriptions(streams map[string]streamState) error {
	folder := filepath.Join(s.dir, descriptionsName)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("store of NATS: %w", err)
	}
	for name := range streams {
		d, there, err := s.description(name)
		if err != nil {
			return fmt.Errorf("store of NATS: %w", err)
		}
		path, text := filepath.Join(folder, name), append(append(d.sum, '\n'), d.text...)
		if old, err := os.ReadFile(path); !there || err == nil && bytes.Equal(old, text) {
			continue
		}
		err = replace(path, text)
		if errors.Is(err, syscall.ENOSPC) {
			s.log.Warn("the settings of a stream can't be kept: a kill while they are changed may count as damage", "file", path, "error", err)
		} else if err != nil {
			return fmt.Errorf("store of NATS: %w", err)
		}
	}
	return nil
}

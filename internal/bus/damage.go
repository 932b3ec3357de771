package bus

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// streamsDir is where the server keeps the streams of our account.
func (s *store) streamsDir() string {
	return filepath.Join(s.dir, filesName, ownAccount, "streams")
}

// streams lists what stands in the store, before the server has seen it.
func (s *store) streams() ([]string, error) {
	entries, err := os.ReadDir(s.streamsDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("store of NATS: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// findDamage compares what the server made of the store with what stood there. The
// server itself goes on without a word: it cuts a file where a record can't be
// read, and leaves a stream out whose description can't. Nothing here grows with
// what was once written: neither the server's list of what was deleted is asked
// for, nor what it says that it lost, which comes with that list only.
func (b *Bus) findDamage(before []string, blocks []block) error {
	streams, err := b.streamStates()
	if err != nil {
		return err
	}
	cuts, err := cuts(blocks)
	if err != nil {
		return err
	}
	records, bad, err := b.store.readWitnesses()
	if err != nil {
		return err
	}
	boot := bootID()
	found := len(bad) > 0
	for _, name := range bad {
		b.log.Error("the store is damaged: what was acknowledged of a stream can't be read", "store", b.store.dir, "stream", name)
	}
	for _, c := range cuts {
		state, there := streams[c.stream]
		r, ok := records[c.stream]
		if ok && r.of(state) && r.Entries >= 0 && c.last && r.counts(boot, b.store.before) && r.missing(state, there, boot, b.store.before) == "" {
			// A write that the process's end has torn: nobody was told of it.
			b.log.Info("a write that was never acknowledged was cut off", "store", b.store.dir, "stream", c.stream, "bytes", c.bytes)
			continue
		}
		found = true
		b.log.Error("the store is damaged: what could not be read was cut off", "store", b.store.dir, "stream", c.stream, "bytes", c.bytes)
	}
	now := time.Now()
	for _, name := range before {
		if _, there := streams[name]; there {
			continue
		}
		if _, known := records[name]; !known {
			if dropped, err := b.store.dropUnmade(name); err != nil {
				return err
			} else if dropped {
				continue
			}
		}
		found = true
		aside := filepath.Join(b.store.dir, "damaged-"+strconv.FormatInt(now.Unix(), 10), name)
		if err := b.store.setAside(name, aside); err != nil {
			return err
		}
		b.log.Error("the store is damaged: a stream can't be read and was set aside", "store", b.store.dir, "stream", name, "moved_to", aside)
	}
	for name, r := range records {
		state, there := streams[name]
		if lacks := r.missing(state, there, boot, b.store.before); lacks != "" {
			found = true
			b.log.Error("the store is damaged: it has less than was acknowledged", "store", b.store.dir, "stream", name, "missing", lacks)
		}
	}
	if err := b.store.openMark(found, now); err != nil {
		return err
	}
	// From here on what was found is on disk. In this order a start that ends anywhere
	// leaves nothing to the next one that it takes for damage, or misses.
	if err := b.store.dropNote(); err != nil {
		return err
	}
	if err := b.store.keepDescriptions(streams); err != nil {
		return err
	}
	if err := b.renewWitnesses(streams, records, bad, boot); err != nil {
		return err
	}
	return b.store.writeHolder(b.store.opening)
}

// streamStates is how our streams in files are, by their names: their counts, no
// list of anything.
func (b *Bus) streamStates() (map[string]streamState, error) {
	info, err := b.srv.Jsz(&server.JSzOptions{Account: ownAccount, Streams: true, Config: true})
	if err != nil {
		return nil, fmt.Errorf("streams of the embedded NATS server: %w", err)
	}
	states := map[string]streamState{}
	for _, account := range info.AccountDetails {
		for _, s := range account.Streams {
			if account.Name == ownAccount && s.Config != nil && s.Config.Storage == server.FileStorage {
				states[s.Name] = streamState{s.State, s.Created}
			}
		}
	}
	return states, nil
}

// dropUnmade removes the folder of a stream whose making ended halfway: all that is in
// it is a description. What the server makes anew over that it could not open again.
func (s *store) dropUnmade(name string) (dropped bool, err error) {
	folder := filepath.Join(s.streamsDir(), name)
	used := false
	err = filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && !strings.HasPrefix(e.Name(), "meta.") {
			info, err := e.Info()
			used = used || err != nil || info.Size() > 0
		}
		return err
	})
	if err == nil && !used {
		s.log.Info("a stream whose making had ended halfway is removed", "store", s.dir, "stream", name)
		err = os.RemoveAll(folder)
	}
	if err != nil {
		return false, fmt.Errorf("store of NATS: %w", err)
	}
	return !used, nil
}

func (s *store) setAside(name, to string) error {
	err := os.MkdirAll(filepath.Dir(to), 0o700)
	if err == nil {
		err = os.Rename(filepath.Join(s.streamsDir(), name), to)
	}
	if err != nil {
		return fmt.Errorf("store of NATS: stream %s is damaged, and can't be set aside: %w", name, err)
	}
	return nil
}

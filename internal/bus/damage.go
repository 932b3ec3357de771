package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// streamsDir is where the server keeps the streams of our account.
func (s *store) streamsDir() string {
	return filepath.Join(s.dir, "jetstream", ownAccount, "streams")
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
// read, and leaves a stream out whose description can't.
func (b *Bus) findDamage(ctx context.Context, before []string) error {
	var missing []string
	found := false
	for _, name := range before {
		bytes, there, err := b.unread(ctx, name)
		switch {
		case err != nil:
			return fmt.Errorf("stream %s of the embedded NATS server: %w", name, err)
		case !there:
			missing = append(missing, name)
		case bytes > 0:
			found = true
			b.log.Error("the store is damaged: what could not be read was cut off", "store", b.store.dir, "stream", name, "bytes", bytes)
		}
	}
	now := time.Now()
	for _, name := range missing {
		found = true
		aside := filepath.Join(b.store.dir, "damaged-"+strconv.FormatInt(now.Unix(), 10), name)
		if err := b.store.setAside(name, aside); err != nil {
			return err
		}
		b.log.Error("the store is damaged: a stream can't be read and was set aside", "store", b.store.dir, "stream", name, "moved_to", aside)
	}
	return b.store.openMark(found, now)
}

// unread asks the server how much of a stream it could not read, and whether it knows
// the stream. What the client makes of the answer has no place for it; the server
// tells it with the details only.
func (b *Bus) unread(ctx context.Context, name string) (bytes uint64, there bool, err error) {
	reply, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.INFO."+name, []byte(`{"deleted_details":true}`))
	if err != nil {
		return 0, false, err
	}
	var info struct {
		server.ApiResponse
		State struct {
			Lost server.LostStreamData `json:"lost"`
		} `json:"state"`
	}
	if err := json.Unmarshal(reply.Data, &info); err != nil {
		return 0, false, err
	}
	if info.Error != nil {
		if info.Error.Code == http.StatusNotFound {
			return 0, false, nil
		}
		return 0, false, info.Error
	}
	return max(info.State.Lost.Bytes, uint64(len(info.State.Lost.Msgs))), true, nil
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

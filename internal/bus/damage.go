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

// damagedName is the file that says when damage was found. It stays: the server
// mends its files as it starts, so that only the first start can see it.
const damagedName = "toolhand.damaged"

// DamagedAt is when an embedded server last found its files damaged, at this start
// or an earlier one: what was written before then may be missing from them. It is
// zero where they never were, and for an external server.
func (b *Bus) DamagedAt() time.Time { return b.damagedAt }

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
	var err error
	b.damagedAt, err = b.store.damaged(found, now)
	return err
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

// damaged reads when damage was found, and writes that down where it is now.
func (s *store) damaged(found bool, now time.Time) (time.Time, error) {
	path := filepath.Join(s.dir, damagedName)
	if found {
		if err := writeSynced(path, now.UTC().Format(time.RFC3339Nano)+"\n"); err != nil {
			return time.Time{}, fmt.Errorf("store of NATS is damaged, and that can't be written down: %w", err)
		}
		return now, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("store of NATS: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(text)))
	if err != nil {
		// Damaged as well: its own time is what is left.
		info, err := os.Stat(path)
		if err != nil {
			return time.Time{}, fmt.Errorf("store of NATS: %w", err)
		}
		return info.ModTime(), nil
	}
	return at, nil
}

func writeSynced(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

package bus

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/nats-io/nats-server/v2/server"
)

// dropConsumers removes what the server kept of consumers that it could not open: it
// would refuse to make them anew over that. They are made at their next use, and are
// handed what their stream has.
func (b *Bus) dropConsumers() error {
	info, err := b.srv.Jsz(&server.JSzOptions{Account: ownAccount, Streams: true, Consumer: true})
	if err != nil {
		return fmt.Errorf("consumers of the embedded NATS server: %w", err)
	}
	for _, account := range info.AccountDetails {
		for _, s := range account.Streams {
			if account.Name != ownAccount {
				continue
			}
			folder := filepath.Join(b.store.streamsDir(), s.Name, "obs")
			entries, err := os.ReadDir(folder)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("store of NATS: %w", err)
			}
			for _, e := range entries {
				if slices.ContainsFunc(s.Consumer, func(c *server.ConsumerInfo) bool { return c.Name == e.Name() }) {
					continue
				}
				if err := os.RemoveAll(filepath.Join(folder, e.Name())); err != nil {
					return fmt.Errorf("store of NATS: %w", err)
				}
				b.log.Warn("a consumer can't be read and is removed; its next use makes it anew", "store", b.store.dir, "stream", s.Name, "consumer", e.Name())
			}
		}
	}
	return nil
}

package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrNone says that there is no journal where one was looked for.
var ErrNone = errors.New("there is no journal")

// Found is an entry as it stands.
type Found struct {
	Entry
	// Written is when it was last written, by the server's clock.
	Written time.Time
}

// Find returns the entries of a call, one for each session that has it, by their
// revisions. It changes nothing: the bucket is neither made nor set up. Errors:
// [ErrNone], [ErrNewer], or what the server or the network said. ctx bounds it; log is
// told of an entry that can't be read.
func Find(ctx context.Context, js jetstream.JetStream, call string, log *slog.Logger) ([]Found, error) {
	j := &Journal{js: js, opts: Options{Timeout: defaultTimeout, Log: log}, prefix: "$KV." + Bucket + "."}
	ctx, cancel := j.bound(ctx)
	defer cancel()
	var err error
	switch j.stream, err = js.Stream(ctx, "KV_"+Bucket); {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, fmt.Errorf("%w: the bucket %s is missing", ErrNone, Bucket)
	case err != nil:
		return nil, fmt.Errorf("journal: %w", because(ctx, err))
	}
	keys, err := j.keys(ctx, "*."+token(call))
	if err != nil {
		return nil, err
	}
	var all []Found
	for _, k := range keys {
		m, err := j.stream.GetLastMsgForSubject(ctx, j.prefix+k)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // it was dropped meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("journal: %w", because(ctx, err))
		}
		e, found, err := j.entry(k, m)
		if err != nil {
			return nil, err
		}
		if found {
			all = append(all, Found{e, m.Time})
		}
	}
	slices.SortFunc(all, func(a, b Found) int { return cmp.Compare(a.Revision, b.Revision) })
	return all, nil
}

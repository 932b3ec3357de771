package queue

import (
	"context"
	"errors"
	"fmt"
	"time"
	"toolhand/internal/tools"
	toolnats "toolhand/internal/tools/nats"
	"toolhand/internal/tools/natswire"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// queueDomain is that of a worker's embedded server, for those from outside.
	queueDomain = "toolhand"
	// liveEvery is how often who takes jobs is looked for: between two of its
	// requests nobody is seen.
	liveEvery = 100 * time.Millisecond
)

// ErrNoJobs says that the job queue has no consumer for a tool: no session worker
// has put a call of it there yet.
var ErrNoJobs = errors.New("no session worker has put a call into the job queue yet")

// FindJobs finds the consumer of a tool's jobs, where JetStream is the server's own
// and where it is behind the border of a worker's embedded one; api is what its
// subjects begin with there. Without one the error is [ErrNoJobs].
func FindJobs(ctx context.Context, nc *nats.Conn, name string) (consumer jetstream.Consumer, api string, err error) {
	here, err := jetstream.New(nc)
	if err != nil {
		return nil, "", err
	}
	api = "$JS.API."
	consumer, err = here.Consumer(ctx, natswire.JobStream, name)
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		there, bad := jetstream.NewWithDomain(nc, queueDomain)
		if bad != nil {
			return nil, "", bad
		}
		api = "$JS." + queueDomain + ".API."
		consumer, err = there.Consumer(ctx, natswire.JobStream, name)
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, "", ErrNoJobs
	}
	return consumer, api, err
}

// Live looks for somebody who waits for the tool's jobs, or works on one. It makes
// nothing.
func (h *handler) Live(ctx context.Context) error {
	nc, err := h.queue.opts.Conn()
	if err != nil {
		return err
	}
	if !nc.IsConnected() {
		return errQueueAway
	}
	ctx, cancel := context.WithTimeout(ctx, toolnats.TraceTimeout)
	defer cancel()
	consumer, _, err := FindJobs(ctx, nc, h.name)
	if errors.Is(err, ErrNoJobs) {
		return fmt.Errorf("%w: %w", tools.ErrNotTold, err)
	}
	for err == nil {
		var info *jetstream.ConsumerInfo
		if info, err = consumer.Info(ctx); err == nil && (info.NumWaiting > 0 || info.NumAckPending > 0) {
			return nil
		}
		select {
		case <-time.After(liveEvery):
		case <-ctx.Done():
			if err == nil {
				return fmt.Errorf("nobody takes the jobs of %s", h.name)
			}
		}
	}
	return err
}

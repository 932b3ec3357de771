package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"toolhand/internal/config"
	"toolhand/internal/discovery"
	"toolhand/internal/registry"
)

// firstTools is how long a worker that starts waits for announced tools. Those who
// come by nats.listen have lost their connection with the worker that was here
// before, and need a moment to find this one.
const firstTools = 3 * time.Second

// toolSubjects is what those who come by nats.listen can be asked on.
const toolSubjects = "toolhand.tool."

// discoverOf is tools.discover as the registry takes it.
func discoverOf(cfg *config.Config) registry.Discover {
	d := registry.Discover{All: cfg.Tools.Discover.All, Names: cfg.Tools.Discover.Names}
	if cfg.NATS.URL == "" {
		d.Below = toolSubjects
	}
	return d
}

// discovery asks for announced tools as long as ctx lasts; nil where
// tools.discover is off.
func (w *worker) discovery(ctx context.Context) *discovery.Watch {
	if !discoverOf(w.cfg).On() {
		return nil
	}
	return &discovery.Watch{
		Ask: func(ctx context.Context, window time.Duration) (registry.Round, error) {
			return askServices(ctx, w.conn, window)
		},
		Take: w.registry.Announce, Swapped: func() { w.reloaded(ctx) }, Log: w.log,
	}
}

// firstTools waits for announced tools before the first session is served: once for
// what an external server knows, and else until those of the list are there, or any.
func (w *worker) firstTools(ctx context.Context, watch *discovery.Watch) {
	d := discoverOf(w.cfg)
	if w.cfg.NATS.URL == "" && w.cfg.NATS.Listen == "" {
		w.log.Warn("nobody can announce tools: set nats.listen to an address for services, or nats.url to a server")
	}
	watch.First(ctx, firstTools, func() bool {
		set := w.registry.Set()
		return w.cfg.NATS.URL != "" || w.cfg.NATS.Listen == "" ||
			d.All && set.Announced() > 0 || !d.All && len(set.Unannounced(d)) == 0
	})
	w.log.Info("services were asked for tools", "tools", w.registry.Set().Announced(), "not_there", w.registry.Set().Unannounced(d))
}

func askServices(ctx context.Context, conn func() (*nats.Conn, error), window time.Duration) (registry.Round, error) {
	nc, err := conn()
	if err != nil {
		return registry.Round{}, err
	}
	return discovery.Ask(ctx, nc, window)
}

// discover adds what services announce, where tools.discover is on and there is a
// server to ask on. Its error says that they can't be asked.
func (b *toolbox) discover(ctx context.Context) error {
	if !b.opts.Discover.On() {
		return nil
	}
	round, err := askServices(ctx, b.nats.conn, discovery.ShortWindow)
	if errors.Is(err, errNoNATS) {
		return nil // nobody can announce anything
	}
	if err != nil {
		return fmt.Errorf("services can't be asked which tools they announce: %w", err)
	}
	b.set = b.set.WithAnnounced(b.opts, round)
	return nil
}

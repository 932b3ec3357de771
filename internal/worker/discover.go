package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"toolhand/internal/config"
	"toolhand/internal/discovery"
	"toolhand/internal/registry"
	"toolhand/internal/tools/natswire"
)

// firstTools is how long a worker that starts waits for announced tools. Those who
// come by nats.listen have lost their connection with the worker that was here
// before, and need a moment to find this one.
const firstTools = 3 * time.Second

// discoverOf is tools.discover as the registry takes it.
func discoverOf(cfg *config.Config) registry.Discover {
	d := registry.Discover{All: cfg.Tools.Discover.All, Names: cfg.Tools.Discover.Names}
	if cfg.NATS.URL == "" {
		d.Below = natswire.ToolSubjects // all that those who come by nats.listen can be asked on
	}
	return d
}

// isolated reports whether nobody outside of this process reaches its NATS server.
func (w *Worker) isolated() bool { return w.cfg.NATS.URL == "" && w.cfg.NATS.Listen == "" }

// discovery asks for announced tools as long as ctx lasts; nil where
// tools.discover is off.
func (s *sessions) discovery(ctx context.Context) *discovery.Watch {
	if !s.loads.Discover.On() {
		return nil
	}
	return &discovery.Watch{Ask: s.ask, Take: s.registry.Announce, Swapped: func() { s.Worker.reloaded(ctx) }, Log: s.log}
}

// firstTools waits for announced tools before the first session is served: once for
// what an external server knows, and else until those of the list are there, or any.
func (s *sessions) firstTools(ctx context.Context, watch *discovery.Watch) {
	d := s.loads.Discover
	if s.isolated() {
		s.log.Warn("nobody can announce tools: set nats.listen to an address for services, or nats.url to a server")
	}
	watch.First(ctx, firstTools, func() bool {
		return s.cfg.NATS.URL != "" || s.isolated() ||
			d.All && s.Set().Announced() > 0 || !d.All && len(s.Set().Unannounced(d)) == 0
	})
	s.log.Info("services were asked for tools", "tools", s.Set().Announced(), "not_there", s.Set().Unannounced(d))
}

// ask asks services once which tools they announce.
func (w *Worker) ask(ctx context.Context, window time.Duration) (registry.Round, error) {
	nc, err := w.conn()
	if err != nil {
		return registry.Round{}, err
	}
	return discovery.Ask(ctx, nc, window)
}

// Discover adds what services announce to the tools of a Command, where
// tools.discover is on and there is a server to ask on. Its error says that they
// can't be asked.
func (w *Worker) Discover(ctx context.Context) error {
	if !w.loads.Discover.On() {
		return nil
	}
	round, err := w.ask(ctx, discovery.ShortWindow)
	if errors.Is(err, errNoNATS) {
		return nil // nobody can announce anything
	}
	if err != nil {
		return fmt.Errorf("services can't be asked which tools they announce: %w", err)
	}
	w.set = w.set.WithAnnounced(w.loads, round)
	return nil
}

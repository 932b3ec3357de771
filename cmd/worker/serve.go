package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"toolhand/internal/admin"
	"toolhand/internal/bus"
	"toolhand/internal/config"
	"toolhand/internal/gcfloor"
	"toolhand/internal/loop"
	"toolhand/internal/loop/circuit"
	"toolhand/internal/loop/slots"
	"toolhand/internal/registry"
	"toolhand/internal/serve"
	"toolhand/internal/telemetry"
	"toolhand/internal/tools"
)

type toolsServeCmd struct {
	configFlags
	logFlags
	Queue bool `help:"Work off the job queue too: the calls of nats tools with queue: true."`
}

// Help is the long help.
func (toolsServeCmd) Help() string {
	return `The tools of tools.d are offered on the NATS server at nats.url as micro services on toolhand.tool.NAME; tools whose own handler is nats are not. Workers that serve sessions use them by a manifest with handler: { nats: {} }, or by tools.discover. Neither a key nor the API is needed.

Signals: as for run.

Example, beside a worker whose nats.listen is 127.0.0.1:4222:

  worker tools serve --config serve.yaml     # nats: { url: "nats://127.0.0.1:4222" }
`
}

// server is the tools served over NATS, put together.
type server struct {
	cfg      *config.Config
	log      *slog.Logger
	secrets  *telemetry.Secrets
	procs    *tools.Processes
	servers  *tools.Servers
	registry *registry.Registry
	slots    *slots.Slots
	circuits *circuit.Circuits
	bus      *bus.Bus
	served   *serve.Server
	stats    *stats
}

// Run serves the tools until a signal says otherwise.
func (c toolsServeCmd) Run(p *process) error {
	gcfloor.Set(gcfloor.Size)
	return underSignals(p, true, func(s *signals) error { return c.run(p, s) })
}

func (c toolsServeCmd) run(p *process, signals *signals) error {
	cfg, path, err := c.load(p)
	if err != nil {
		return err
	}
	if cfg.NATS.URL == "" {
		return usageError{errors.New("nats.url is not set: tools are served on the NATS server of the workers that use them; name it, such as nats://127.0.0.1:4222 where a worker's nats.listen is 127.0.0.1:4222")}
	}
	secrets := &telemetry.Secrets{}
	log, err := c.logger(p, cfg, secrets)
	if err != nil {
		return err
	}
	s, err := startWorker(p.ctx, signals, func(ctx context.Context) (*server, error) {
		return newServer(ctx, cfg, c.Queue, log, secrets, p.lookupEnv)
	})
	if errors.Is(err, errStopped) {
		log.Info("worker stopped before it had started")
		return nil
	}
	if err != nil {
		return err
	}
	defer s.close()
	page, err := s.openAdmin()
	if err != nil {
		return err
	}
	v, _ := versions()
	log.Info("serving tools", "version", v, "config", cmp.Or(path, "defaults"), "tools", len(s.served.Tools()), "server", s.bus.Status().Server)
	for _, text := range config.Exposed(cfg) {
		log.Warn(text)
	}
	return s.daemon(p.ctx, signals, page)
}

// newServer puts it together. It serves nothing yet.
func newServer(ctx context.Context, cfg *config.Config, queue bool, log *slog.Logger, secrets *telemetry.Secrets, lookupEnv func(string) (string, bool)) (_ *server, err error) {
	s := &server{cfg: cfg, log: log, secrets: secrets, stats: newStats(),
		slots: slots.New(cfg.Tools.Concurrency), circuits: &circuit.Circuits{}}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.procs, err = tools.NewProcesses(log); err != nil {
		return nil, fmt.Errorf("processes of tools can't be kept: %w", err)
	}
	s.servers = tools.NewServers(s.procs, log)
	defer context.AfterFunc(ctx, func() { _ = s.servers.Close() })() // a start that is stopped waits for none
	s.registry, err = registry.Open(registry.Options{Dir: cfg.Tools.Dir, Processes: s.procs, Servers: s.servers, Wait: listWait,
		NATS: s.conn, Log: log, LookupEnv: lookupEnv})
	if err != nil {
		return nil, err
	}
	opts := bus.Options{URL: cfg.NATS.URL, CredentialsFile: cfg.NATS.CredentialsFile, CoreOnly: true, Log: log}
	if opts.Token, err = readToken("nats.token_file", cfg.NATS.TokenFile, secrets); err != nil {
		return nil, err
	}
	if s.bus, err = bus.Open(ctx, opts); err != nil {
		return nil, fmt.Errorf("nats.url: %w", err)
	}
	s.served = serve.New(serve.Config{
		Conn: s.bus.Conn(), Set: s.registry.Set, Version: semantic(), Log: log, Report: s.stats.count,
		Queue: queue, Concurrency: cfg.Tools.Concurrency,
		Once: loop.Once{
			Lookup: func(name string) (*registry.Tool, bool) { return s.registry.Set().Lookup(name) },
			Slots:  s.slots, Circuits: s.circuits, Log: log,
		},
	})
	return s, nil
}

// conn is the connection that nats tools are asked on. They are not offered, and a
// reload may find some.
func (s *server) conn() (*nats.Conn, error) {
	if s.bus == nil {
		return nil, errors.New("the worker has no connection to NATS yet")
	}
	return s.bus.Conn(), nil
}

// readToken reads the token of a key; empty without a file.
func readToken(key, file string, secrets *telemetry.Secrets) (string, error) {
	if file == "" {
		return "", nil
	}
	token, err := config.ReadKeyFile(file)
	if err != nil {
		return "", usageError{fmt.Errorf("%s: %w", key, err)}
	}
	secrets.Add(token)
	return token, nil
}

var semver = regexp.MustCompile(`^v?(\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?)$`)

// semantic is our version as NATS services want it.
func semantic() string {
	v, _ := versions()
	if m := semver.FindStringSubmatch(v); m != nil {
		return m[1]
	}
	return "0.0.0"
}

// daemon serves until a signal says otherwise.
func (s *server) daemon(ctx context.Context, signals *signals, page *admin.Server) error {
	drain, drained := context.WithCancel(ctx)
	defer drained()
	hard, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	beside, end := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	if page != nil {
		wg.Go(func() { serveAdmin(beside, page, s.log) })
	}
	acts := watched{log: s.log, grace: s.cfg.Shutdown.Grace, reload: s.reload, drain: drained, stop: stop}
	wg.Go(func() { watchStops(beside, signals, acts) })
	wg.Go(func() { watchReloads(beside, signals, acts) })
	wg.Go(func() { s.registry.Follow(beside, s.reloaded) })
	left, err := s.served.Serve(drain, hard, time.Duration(s.cfg.Shutdown.Grace))
	end()
	wg.Wait()
	s.log.Info("worker stopped", "calls_left", left)
	return cmp.Or(err, context.Cause(hard))
}

// reload takes tools.d anew. What is broken leaves the old set in force.
func (s *server) reload(context.Context) {
	if s.registry.Reload() != nil {
		return // it has said why
	}
	s.reloaded()
}

// reloaded offers another set of tools.
func (s *server) reloaded() {
	for _, t := range s.registry.Set().Tools() {
		s.slots.Limit(t.LimitName(), loop.LimitOf(t))
	}
	if err := s.served.Reload(); err != nil {
		s.log.Error("what was offered before stays", "error", err)
	}
}

func (s *server) openAdmin() (*admin.Server, error) {
	page, err := listenAdmin(s.cfg, s.secrets, s.log)
	if page == nil || err != nil {
		return nil, err
	}
	page.Ready(func() []admin.Reason {
		if err := s.bus.Healthy(); err != nil {
			return []admin.Reason{{Check: "nats", Text: err.Error()}}
		}
		return nil
	})
	s.stats.show(page)
	page.Section("version", versionStatus)
	page.Section("nats", func() any { return s.bus.Status() })
	page.Section("calls", func() any {
		open := s.served.Calls()
		return map[string]any{"open": len(open), "outcomes": s.stats.snapshot(), "calls": open}
	})
	page.Section("tools", func() any { return toolsStatus(s.registry.Set(), s.slots, s.circuits) })
	return page, nil
}

func (s *server) close() {
	if s.bus != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeBusTimeout)
		defer cancel()
		if err := s.bus.Close(ctx); err != nil {
			s.log.Warn("the connection to NATS did not end in order", "error", err)
		}
	}
	if s.servers != nil {
		if err := errors.Join(s.servers.Close(), s.procs.Close()); err != nil {
			s.log.Warn("processes of tools are left", "error", err)
		}
	}
}

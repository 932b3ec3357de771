package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"time"

	"toolhand/internal/admin"
	"toolhand/internal/bus"
	"toolhand/internal/config"
	"toolhand/internal/fleet"
	"toolhand/internal/journal"
	"toolhand/internal/loop"
	"toolhand/internal/loop/circuit"
	"toolhand/internal/loop/slots"
	"toolhand/internal/registry"
	"toolhand/internal/telemetry"
	"toolhand/internal/tools"
	"toolhand/internal/upstream"
)

// worker is the daemon put together. The demo runs the same one.
type worker struct {
	cfg       *config.Config
	log       *slog.Logger
	secrets   *telemetry.Secrets
	lookupEnv func(string) (string, bool)
	procs     *tools.Processes
	servers   *tools.Servers
	registry  *registry.Registry
	client    *upstream.Client
	slots     *slots.Slots
	circuits  *circuit.Circuits
	crew      *loop.Crew
	bus       *bus.Bus
	queue     *tools.Queue
	store     *journal.Journal
	journal   loop.Journal // store, as the loop wants it
	doubts    doubts
	sweeper   sweeper
	fleet     *fleet.Fleet
	stats     *stats
	owner     string
	// tell is told of each call that has ended, besides the log; nil: nobody.
	tell func(loop.Report)
}

// newWorker puts the daemon together. It serves nothing yet.
func newWorker(ctx context.Context, cfg *config.Config, log *slog.Logger, secrets *telemetry.Secrets, lookupEnv func(string) (string, bool)) (*worker, error) {
	w := &worker{cfg: cfg, log: log, secrets: secrets, lookupEnv: lookupEnv, stats: newStats(),
		slots: slots.New(cfg.Tools.Concurrency), circuits: &circuit.Circuits{}, crew: loop.NewCrew(), owner: rand.Text()}
	cred, err := w.credential()
	if err != nil {
		return nil, err
	}
	w.client, err = upstream.New(upstream.Options{
		BaseURL: cfg.Upstream.BaseURL, Credential: cred, WorkspaceID: cfg.Upstream.WorkspaceID,
		RequestsPerMinute: cfg.Upstream.RequestsPerMinute,
		RequestTimeout:    time.Duration(cfg.Upstream.RequestTimeout),
		SendTimeout:       time.Duration(cfg.Upstream.SendTimeout),
		UserAgent:         userAgent(), Log: log,
	})
	if err != nil {
		return nil, usageError{err}
	}
	if w.procs, err = tools.NewProcesses(log); err != nil {
		return nil, fmt.Errorf("processes of tools can't be kept: %w", err)
	}
	w.servers = tools.NewServers(w.procs, log)
	defer context.AfterFunc(ctx, func() { _ = w.servers.Close() })() // a start that is stopped waits for none
	w.queue = newQueue(cfg, w.conn, log)
	w.registry, err = registry.Open(registry.Options{Dir: cfg.Tools.Dir, Processes: w.procs, Servers: w.servers, Wait: listWait, NATS: w.conn, Queue: w.queue, Discover: discoverOf(cfg), Log: log, LookupEnv: lookupEnv})
	if err != nil {
		return nil, errors.Join(err, w.closeTools())
	}
	if err := w.openJournal(ctx); err != nil {
		return nil, errors.Join(err, w.closeTools())
	}
	w.fleet = fleet.New(fleet.Config{New: w.newSession, MaxActive: cfg.Sessions.MaxActive, Log: log})
	return w, nil
}

func userAgent() string {
	v, _ := versions()
	return "toolhand/" + v
}

// credential finds the credential and makes sure that no log line shows it.
func (w *worker) credential() (upstream.Credential, error) {
	cred, err := config.FindCredential(w.cfg, w.lookupEnv)
	if err != nil {
		return upstream.Credential{}, usageError{err}
	}
	w.secrets.Add(cred.Secret())
	w.log.Debug("credential found", "credential", cred)
	switch cred.Kind {
	case config.KindAPIKey:
		return upstream.Credential{APIKey: cred.Secret()}, nil
	case config.KindAuthToken:
		return upstream.Credential{AuthToken: cred.Secret()}, nil
	}
	return upstream.Credential{}, nil
}

func (w *worker) newSession(id string, permanent bool) fleet.Session {
	set := loop.Settings{
		Session: id, Owner: w.owner,
		Lookup:        func(name string) (*registry.Tool, bool) { return w.registry.Set().Lookup(name) },
		IgnoreUnknown: w.cfg.Tools.Unknown == config.UnknownIgnore,
		Eager:         w.cfg.Results.Flush == config.FlushEager,
		Linger:        time.Duration(w.cfg.Results.Linger),
		Reconcile:     time.Duration(w.cfg.Upstream.ReconcileInterval),
		Jitter: func(d time.Duration) time.Duration {
			return d/2 + mathrand.N(d/2+1)
		},
	}
	set.Doubt, set.DoubtUntil = w.doubts.of(w.bus, id)
	if !permanent {
		set.MaxIdle = time.Duration(w.cfg.Sessions.MaxIdle)
	}
	cfg := loop.Config{
		Settings: set, Client: w.client, Slots: w.slots, Circuits: w.circuits, Crew: w.crew,
		Journal: w.store, StopLeft: w.stopLeft, Log: w.log,
		StreamIdle: time.Duration(w.cfg.Upstream.StreamIdleTimeout), Report: w.ended,
	}
	if !set.Doubt || !set.DoubtUntil.IsZero() {
		return loop.New(cfg)
	}
	cfg.Live = w.bus.Live
	return doubtedSession{loop.New(cfg), id, &w.doubts}
}

// ended counts a call that has ended.
func (w *worker) ended(r loop.Report) {
	w.stats.count(r)
	if w.tell != nil {
		w.tell(r)
	}
}

// reload takes tools.d and the key file anew. What is broken leaves the old one
// in force, and says so.
func (w *worker) reload(ctx context.Context) {
	if cred, err := w.credential(); err != nil {
		w.log.Error("credential not reloaded; the old one stays in force", "error", err)
	} else {
		w.client.Renew(cred)
	}
	if w.registry.Reload() != nil {
		return // it has said why
	}
	w.reloaded(ctx)
}

// reloaded has the rest of the worker take another set of tools.
func (w *worker) reloaded(ctx context.Context) {
	for _, t := range w.registry.Set().Tools() {
		w.slots.Limit(t.LimitName(), loop.LimitOf(t))
	}
	w.fleet.Reload(ctx)
}

// serve serves sessions until drain ends, and the rest of what runs for the
// configured grace. The end of hard stops everything at once.
func (w *worker) serve(drain, hard context.Context) (left int) {
	done := make(chan int)
	go func() { done <- w.fleet.Serve(drain, hard, time.Duration(w.cfg.Shutdown.Grace)) }()
	for _, id := range w.cfg.Sessions.IDs {
		if err := w.fleet.Attach(hard, id, true); err != nil && !errors.Is(err, fleet.ErrDraining) {
			w.log.Error("session is not served", "session", id, "error", err)
		}
	}
	return <-done
}

// close releases what newWorker made.
func (w *worker) close() {
	w.client.Close()
	w.queue.Close()
	w.closeBus(w.bus)
	if err := w.closeTools(); err != nil {
		w.log.Warn("processes of tools", "error", err)
	}
}

func (w *worker) closeTools() error {
	w.crew.Close()
	return errors.Join(w.servers.Close(), w.procs.Close())
}

// listenAdmin takes the admin address; nil where there is to be none.
func listenAdmin(cfg *config.Config, secrets *telemetry.Secrets, log *slog.Logger) (*admin.Server, error) {
	if cfg.Admin.Listen == "" {
		return nil, nil
	}
	token, err := readToken("admin.token_file", cfg.Admin.TokenFile, secrets)
	if err != nil {
		return nil, err
	}
	page, err := admin.Listen(cfg.Admin.Listen, token, log)
	if err != nil {
		return nil, err
	}
	cert, err := serverTLS("admin", cfg.Admin.TLSCertFile, cfg.Admin.TLSKeyFile, log)
	if err != nil {
		return nil, errors.Join(err, page.Close())
	}
	page.TLS(cert)
	log.Info("admin address", "listen", page.Addr().String())
	return page, nil
}

// openAdmin takes the admin address and registers what each part can say.
func (w *worker) openAdmin() (*admin.Server, error) {
	server, err := listenAdmin(w.cfg, w.secrets, w.log)
	if server == nil || err != nil {
		return nil, err
	}
	w.register(server)
	return server, nil
}

package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"toolhand/internal/admin"
	"toolhand/internal/bus"
	"toolhand/internal/config"
	"toolhand/internal/loop/circuit"
	"toolhand/internal/loop/run"
	"toolhand/internal/loop/slots"
	"toolhand/internal/registry"
	"toolhand/internal/telemetry"
	toolmcp "toolhand/internal/tools/mcp"
	"toolhand/internal/tools/proctree"
	"toolhand/internal/tools/queue"
)

// How long the MCP servers of groups are waited for to list their tools: by a worker that
// starts, which takes what comes later when it is there, and by a command that shows them.
// What npx or docker starts may take a minute.
const (
	startWait = 10 * time.Second
	ListWait  = 2 * time.Minute
)

// Purpose is what a worker is opened for.
type Purpose int

// The purposes.
const (
	// Command: a command shows the tools, asks them and calls them, and ends.
	Command Purpose = iota
	// Sessions: sessions of the API are served.
	Sessions
	// Fleet: the tools are served to the workers of a fleet, over NATS.
	Fleet
)

// Options are what a worker is opened with, besides its configuration. Required are
// Log, Secrets and LookupEnv.
type Options struct {
	Purpose Purpose
	// Version and Commit are the build's.
	Version, Commit string
	// Source is the file of the configuration. Empty: there is none.
	Source string
	Log    *slog.Logger
	// Secrets is told what no line of the log may show.
	Secrets *telemetry.Secrets
	// LookupEnv finds a variable of the environment.
	LookupEnv func(string) (string, bool)
	// Wait is how long a Command waits for MCP servers to list their tools. Zero leaves
	// them alone.
	Wait time.Duration
	// Queue has a worker for the Fleet work off the job queue too.
	Queue bool
	// Report is told of each call that has ended. Nil: nobody is.
	Report func(run.Report)
	// Tools stand in the place of those in tools.dir. Nil: they don't.
	Tools *registry.Set
	// Sole says that the sessions of the configuration are all that there will be: the
	// worker ends where the API knows none of them.
	Sole bool
	// Forgets keeps the journal of a worker for Sessions in memory: there is no store,
	// no NATS, and what ran is forgotten with the process.
	Forgets bool
}

// Worker is a worker put together. Make it with [Open]. Its fields are set by Open and
// not changed after.
type Worker struct {
	cfg      *config.Config
	opts     Options
	log      *slog.Logger
	stats    *stats
	procs    *proctree.Processes
	servers  *toolmcp.Servers
	queue    *queue.Queue
	registry *registry.Registry // nil for a Command, and where the Options have Tools
	set      *registry.Set      // without registry: changed by a Command alone
	loads    registry.Options   // of both
	slots    *slots.Slots
	circuits *circuit.Circuits
	link     *link         // of a Command; else nil
	bus      *bus.Bus      // nil: there is none
	page     *admin.Server // nil: there is none
	service  service       // nil for a Command

	// asked ends when somebody asks for a drain at the admin address, by askDrain; draining is
	// since when the worker drains, nil while it does not.
	asked    context.Context
	askDrain context.CancelFunc
	draining atomic.Pointer[time.Time]
}

// service is what a worker serves.
type service interface {
	// open opens what it needs beside the tools, which are there; what it has opened
	// before an error is closed by close.
	open(ctx context.Context) error
	// greet logs what it begins with.
	greet()
	// serve serves until drain ends, and what runs then for the configured grace. The
	// end of hard stops everything at once. It returns how many calls are left.
	serve(drain, hard context.Context) (left int, err error)
	// renew takes the credential anew, and what else its configuration names. What is
	// wrong leaves the old in force.
	renew(ctx context.Context) error
	// reloaded takes another set of tools.
	reloaded(ctx context.Context)
	// stuck says which of its own loops don't move, unready why it is not ready.
	stuck() []admin.Reason
	unready() []admin.Reason
	// show registers its sections of the status.
	show(*admin.Server)
	close()
}

// UsageError is an error of whoever wrote the command line, a configuration or a file
// that it names.
type UsageError struct{ err error }

func (e *UsageError) Error() string { return e.err.Error() }
func (e *UsageError) Unwrap() error { return e.err }

// Usagef makes a [UsageError] as [fmt.Errorf] makes an error.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// Open puts a worker together, which may take as long as its NATS server is away; the
// end of ctx ends that. It serves nothing yet. Errors: [UsageError], those of
// [config.FindCredential] and [registry.Load], or what failed.
func Open(ctx context.Context, cfg *config.Config, opts Options) (_ *Worker, err error) {
	w := &Worker{cfg: cfg, opts: opts, log: opts.Log, stats: newStats(),
		slots: slots.New(cfg.Tools.Concurrency), circuits: &circuit.Circuits{}}
	w.asked, w.askDrain = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	wait := startWait
	switch opts.Purpose {
	case Command:
		w.link, wait = &link{cfg: cfg.NATS}, opts.Wait
	case Sessions:
		s := &sessions{Worker: w}
		if s.client, err = s.newClient(); err != nil {
			return nil, err
		}
		w.service = s
	case Fleet:
		if cfg.NATS.URL == "" {
			return nil, Usagef("nats.url is not set: tools are served on the NATS server of the workers that use them; name it, such as nats://127.0.0.1:4222 where a worker's nats.listen is 127.0.0.1:4222")
		}
		w.service = &offers{Worker: w}
	}
	if w.procs, err = proctree.New(proctree.Options{Log: w.log}); err != nil {
		return nil, fmt.Errorf("processes of tools can't be kept: %w", err)
	}
	w.servers = toolmcp.NewServers(w.procs, w.log)
	defer context.AfterFunc(ctx, func() { _ = w.servers.Close() })() // a start that is stopped waits for none
	w.queue = w.newQueue()
	if err := w.openTools(wait); err != nil || w.service == nil {
		return w, err
	}
	if err := w.service.open(ctx); err != nil {
		return nil, err
	}
	return w, w.openAdmin()
}

// newQueue is the job queue, as the configuration bounds it.
func (w *Worker) newQueue() *queue.Queue {
	cfg := w.cfg.NATS
	return queue.New(queue.Options{
		Conn: w.conn, Replicas: cfg.Replicas, Log: w.log,
		MaxAge: time.Duration(cfg.Queue.MaxAge), MaxBytes: int64(cfg.Queue.MaxBytes), AckWait: time.Duration(cfg.Queue.AckWait),
		Admitted: cfg.URL == "", // who takes jobs of an embedded server comes by nats.listen
	})
}

// openTools loads the tools.
func (w *Worker) openTools(wait time.Duration) (err error) {
	w.loads = registry.Options{Dir: w.cfg.Tools.Dir, Wait: wait, Log: w.log, LookupEnv: w.opts.LookupEnv,
		Dependencies: registry.Dependencies{Processes: w.procs, NATS: w.conn, Queue: w.queue, Servers: w.servers}}
	if w.opts.Purpose != Fleet { // its tools are offered, and not taken from others
		w.loads.Discover = discoverOf(w.cfg)
	}
	switch {
	case w.opts.Tools != nil:
		w.set = w.opts.Tools
	case w.service == nil:
		err = w.load(wait, "")
	default:
		w.registry, err = registry.Open(w.loads)
	}
	return err
}

// conn is the connection that nats tools are asked on, and jobs go over.
func (w *Worker) conn() (*nats.Conn, error) {
	switch {
	case w.link != nil:
		return w.link.conn()
	case w.bus == nil:
		return nil, errors.New("the worker has no connection to NATS yet")
	}
	return w.bus.Conn(), nil
}

// Config is the configuration that it was opened with.
func (w *Worker) Config() *config.Config { return w.cfg }

// Set is the set of tools in force.
func (w *Worker) Set() *registry.Set {
	if w.registry == nil {
		return w.set
	}
	return w.registry.Set()
}

// Serve serves until drain ends; then nothing new is taken, and what runs has the
// configured grace. The end of hard stops everything at once, and its cause is the
// error. It returns how many calls are left without an answer, and why the worker
// ended, nil where it was drained. It is called once, and not for a Command.
func (w *Worker) Serve(drain, hard context.Context) (left int, err error) {
	drain, end := context.WithCancel(drain)
	defer end()
	defer context.AfterFunc(w.asked, end)()
	defer context.AfterFunc(drain, func() {
		now := time.Now().UTC().Truncate(time.Second)
		w.draining.Store(&now)
	})()
	w.service.greet()
	for _, text := range config.Exposed(w.cfg) {
		w.log.Warn(text)
	}
	// What goes on beside the service is there from before its first call until after
	// the last one.
	beside, endBeside := context.WithCancel(context.WithoutCancel(hard))
	var wg sync.WaitGroup
	if w.page != nil {
		wg.Go(func() { w.serveAdmin(beside) })
	}
	if w.registry != nil {
		wg.Go(func() { w.registry.Follow(beside, func() { w.reloaded(beside) }) })
	}
	left, err = w.service.serve(drain, hard)
	endBeside()
	wg.Wait()
	w.log.Info("worker stopped", "calls_left", left)
	return left, cmp.Or(context.Cause(hard), err)
}

// Reload takes tools.d, the key file and sessions.ids anew. What is broken leaves the old one in
// force; the log and the error say so. The end of ctx ends it.
func (w *Worker) Reload(ctx context.Context) error {
	err := w.service.renew(ctx)
	if w.registry == nil {
		return err
	}
	broken := w.registry.Reload(ctx)
	if broken == nil {
		w.reloaded(ctx)
	}
	return errors.Join(broken, err)
}

// reloaded has the rest of the worker take another set of tools.
func (w *Worker) reloaded(ctx context.Context) {
	for _, t := range w.Set().Tools() {
		w.slots.Limit(t.LimitName(), run.LimitOf(t))
	}
	w.service.reloaded(ctx)
}

// ended counts a call that has ended.
func (w *Worker) ended(r run.Report) {
	w.stats.count(r)
	if w.opts.Report != nil {
		w.opts.Report(r)
	}
}

// Close closes what is open, in the reverse order. What does not end in order is
// logged, and is the error.
func (w *Worker) Close() (err error) {
	w.askDrain()
	if w.page != nil {
		_ = w.page.Close() // after Serve it is closed
	}
	if w.service != nil {
		w.service.close()
	}
	if w.queue != nil {
		w.queue.Close()
	}
	w.link.close()
	closeBus(w.bus, w.log)
	if w.servers != nil {
		err = w.servers.Close()
	}
	if w.procs != nil {
		err = errors.Join(err, w.procs.Close())
	}
	if err != nil {
		w.log.Warn("processes of tools are left", "error", err)
	}
	return err
}

package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
	"toolhand/internal/tools/natswire"
)

const (
	// serviceName is the name of the micro service.
	serviceName = "toolhand"
	// queueGroup is shared by all that serve a tool.
	queueGroup = "toolhand"
	// maxOpen bounds the calls that run and wait here; more are told to go
	// elsewhere.
	maxOpen = 10_000
	// A service tells all that it announces in one message, which a server takes
	// up to a size: so many endpoints and so many bytes of metadata make one.
	maxEndpoints = 64
	maxAnnounced = 256 << 10
	// stopGrace is how long handlers that were told to stop have.
	stopGrace = 5 * time.Second
	// settle is how long the end of a drain is looked for between two looks.
	settle = 20 * time.Millisecond
)

// Why a call is stopped.
var (
	errCalledOff = errors.New("who asked called the call off")
	errStopping  = errors.New("the worker that ran it shuts down")
)

// Config is what a server serves with. All fields but Report are required.
type Config struct {
	// Conn is the connection to the server that the session workers use.
	Conn *nats.Conn
	// Set is the set of tools in force.
	Set func() *registry.Set
	// Once runs the calls.
	Once run.Once
	// Version is the worker's, as a semantic version.
	Version string
	Log     *slog.Logger
	// Queue has the job queue worked off too, as room for calls is here:
	// Concurrency is how many run at once; 0: any number.
	Queue       bool
	Concurrency int
	// Report is told of each call that has ended; nil: nobody is.
	Report func(run.Report)
}

// Server serves tools. Make it with [New].
type Server struct {
	cfg    Config
	ctx    context.Context // of the calls; ends when they are to stop
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	services []micro.Service // guarded by mu
	offered  string          // guarded by mu; what services announce
	open     map[*openCall]struct{}
	stopped  bool          // guarded by mu: no more calls are taken
	drained  chan struct{} // closed when stopped is set
	freed    chan struct{} // guarded by mu; closed when the next call has ended
	wg       sync.WaitGroup
}

// openCall is a call that runs or waits; guarded by Server.mu.
type openCall struct {
	id, tool string
	since    time.Time
	cancel   context.CancelCauseFunc
}

// quietLog passes on what is no news of a call's ordinary way: one line says how a
// call was served.
type quietLog struct{ slog.Handler }

func (q quietLog) Enabled(ctx context.Context, level slog.Level) bool {
	return level != slog.LevelInfo && q.Handler.Enabled(ctx, level)
}
func (q quietLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quietLog{q.Handler.WithAttrs(attrs)}
}
func (q quietLog) WithGroup(name string) slog.Handler { return quietLog{q.Handler.WithGroup(name)} }

// New makes a server that offers nothing yet.
func New(cfg Config) *Server {
	cfg.Once.Log = slog.New(quietLog{cfg.Once.Log.Handler()})
	s := &Server{cfg: cfg, open: map[*openCall]struct{}{}, freed: make(chan struct{}), drained: make(chan struct{})}
	s.cfg.Once.Drain = s.drained
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// Serve offers the tools until drain ends; then it takes no more calls, and lets
// those that run end within grace. The end of hard stops everything at once. It
// returns how many calls were stopped, or why the tools can't be offered. It is
// called once.
func (s *Server) Serve(drain, hard context.Context, grace time.Duration) (left int, err error) {
	defer s.cancel(errStopping)
	off, err := s.cfg.Conn.Subscribe(natswire.CancelSubjects+"*", s.calledOff)
	if err != nil {
		return 0, fmt.Errorf("NATS: %w", err)
	}
	defer off.Unsubscribe()
	if err := s.Reload(); err != nil {
		return 0, err
	}
	pull, stop := context.WithCancel(drain)
	defer stop()
	var pulling sync.WaitGroup
	if s.cfg.Queue {
		pulling.Go(func() { s.pullAll(pull, hard) })
	}
	select {
	case <-drain.Done():
	case <-hard.Done():
	}
	stop()
	s.withdraw(hard)
	pulling.Wait()
	left = s.finish(hard, grace)
	return left, nil
}

// Reload offers the set that is in force now. Calls that run go on. It may be
// called by any goroutine while Serve runs.
func (s *Server) Reload() error {
	offers, fingerprint := s.offers()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || s.services != nil && fingerprint == s.offered {
		return nil
	}
	fresh, err := s.offer(offers)
	if err != nil {
		stopAll(fresh, s.cfg.Log)
		return fmt.Errorf("tools can't be offered over NATS: %w", err)
	}
	old := s.services
	s.services, s.offered = fresh, fingerprint
	stopAll(old, s.cfg.Log) // the new ones stand already: nobody is turned away
	return nil
}

// offers are the tools that are offered, in order, and a text that is another
// one when what they announce is. A tool that NATS itself answers for is not
// offered: the call would come back.
func (s *Server) offers() (all []*registry.Tool, fingerprint string) {
	for _, t := range s.cfg.Set().Tools() {
		if t.Kind == "nats" {
			continue
		}
		all = append(all, t)
		meta := announce(t)
		for _, key := range slices.Sorted(maps.Keys(meta)) {
			fingerprint += strconv.Quote(meta[key]) + "\n"
		}
	}
	return all, fingerprint
}

// announce is what is said of a tool to those who look for tools.
func announce(t *registry.Tool) map[string]string {
	return map[string]string{
		"toolhand.tool":         t.Name,
		"toolhand.description":  t.Description,
		"toolhand.input_schema": string(t.InputSchema),
		"toolhand.deadline":     t.DeadlineText,
		"toolhand.idempotent":   strconv.FormatBool(t.Idempotent),
	}
}

// offer starts services for the tools. On an error it returns those it started.
func (s *Server) offer(all []*registry.Tool) (services []micro.Service, err error) {
	var service micro.Service
	endpoints, size := 0, 0
	for _, t := range all {
		announced := len(t.Description) + len(t.InputSchema)
		if service == nil || endpoints == maxEndpoints || size+announced > maxAnnounced {
			service, err = micro.AddService(s.cfg.Conn, micro.Config{
				Name: serviceName, Version: s.cfg.Version, QueueGroup: queueGroup,
				Description:  "tools of a toolhand worker",
				ErrorHandler: s.broken,
			})
			if err != nil {
				return services, err
			}
			services = append(services, service)
			endpoints, size = 0, 0
		}
		err := service.AddEndpoint(t.Name, micro.HandlerFunc(s.take),
			micro.WithEndpointSubject(natswire.ToolSubjects+t.Name), micro.WithEndpointMetadata(announce(t)))
		if err != nil {
			return services, fmt.Errorf("tool %s: %w", t.Name, err)
		}
		endpoints++
		size += announced
	}
	return services, nil
}

func (s *Server) broken(_ micro.Service, e *micro.NATSError) {
	s.cfg.Log.Warn("serving over NATS", "subject", e.Subject, "error", e.Description)
}

func stopAll(services []micro.Service, log *slog.Logger) {
	for _, service := range services {
		if err := service.Stop(); err != nil {
			log.Warn("a NATS service did not stop in order", "error", err)
		}
	}
}

// withdraw lets no more calls come, and takes in those that are on their way.
func (s *Server) withdraw(hard context.Context) {
	s.mu.Lock()
	s.stopped = true
	close(s.drained)
	services := s.services
	s.services = nil
	s.mu.Unlock()
	stopAll(services, s.cfg.Log)
	ctx, cancel := context.WithTimeout(hard, stopGrace)
	defer cancel()
	if err := s.cfg.Conn.FlushWithContext(ctx); err != nil {
		s.cfg.Log.Warn("NATS may not know yet that no more calls are taken", "error", err)
	}
}

// finish waits until nothing is open, or the grace is over: then it stops what
// runs, and returns how many that were.
func (s *Server) finish(hard context.Context, grace time.Duration) (left int) {
	over := time.NewTimer(grace)
	defer over.Stop()
	look := time.NewTicker(settle)
	defer look.Stop()
	for quiet := 0; quiet < 2; { // what was flushed in is being taken yet
		select {
		case <-look.C:
			if quiet++; s.Open() > 0 {
				quiet = 0
			}
			continue
		case <-over.C:
		case <-hard.Done():
		}
		left = s.Open()
		break
	}
	s.mu.Lock()
	s.cancel(errStopping) // begin sees it, so that nothing is added to wg from here on
	s.mu.Unlock()
	joined := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(joined)
	}()
	bound := time.NewTimer(stopGrace)
	defer bound.Stop()
	select {
	case <-joined:
	case <-bound.C:
		s.cfg.Log.Error("handlers ignore that they were told to stop; left behind", "calls", s.Open())
	}
	return left
}

// Open is how many calls run and wait.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// OpenCall is a call that runs or waits, for the status.
type OpenCall struct {
	ID    string    `json:"id"`
	Tool  string    `json:"tool"`
	Since time.Time `json:"since"`
}

// Calls are the calls that run and wait, oldest first.
func (s *Server) Calls() []OpenCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]OpenCall, 0, len(s.open))
	for c := range s.open {
		all = append(all, OpenCall{c.id, c.tool, c.since})
	}
	slices.SortFunc(all, func(a, b OpenCall) int { return a.Since.Compare(b.Since) })
	return all
}

// calledOff stops the tool of a call that nobody waits for any more.
func (s *Server) calledOff(m *nats.Msg) {
	id := strings.TrimPrefix(m.Subject, natswire.CancelSubjects)
	if named := m.Header.Get("Tool-Use-Id"); named != "" {
		id = named // an id that is no part of a subject stands in the header only
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		if c.id == id {
			c.cancel(errCalledOff)
		}
	}
}

// begin takes a call in, unless no more are taken. end is called when its answer
// is out.
func (s *Server) begin(call tools.Call) (ctx context.Context, end func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= maxOpen || s.ctx.Err() != nil {
		return nil, nil, false
	}
	ctx, cancel := context.WithCancelCause(s.ctx)
	c := &openCall{id: call.ID, tool: call.Tool, since: time.Now(), cancel: cancel}
	s.open[c] = struct{}{}
	s.wg.Add(1)
	return ctx, func() {
		defer s.wg.Done()
		cancel(nil)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, c)
		close(s.freed)
		s.freed = make(chan struct{})
	}, true
}

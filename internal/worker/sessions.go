package worker

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/config"
	"toolhand/internal/fleet"
	"toolhand/internal/journal"
	"toolhand/internal/loop"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
	toolexec "toolhand/internal/tools/exec"
	"toolhand/internal/tools/natswire"
	"toolhand/internal/upstream"
)

// sessions is the service of a worker for Sessions.
type sessions struct {
	*Worker
	client    *upstream.Client
	store     *journal.Journal // nil where the worker forgets
	journal   loop.Journal     // store, or one in memory
	retention *journal.Retention
	doubts    doubts
	fleet     *fleet.Fleet
	owner     string
	named     named
	// incomplete is since when some session does not say what it does; owned by stuck.
	incomplete time.Time
	// unknown has a session each time that one of the configured was not found.
	unknown chan string
}

func (s *sessions) newClient() (*upstream.Client, error) {
	cred, err := s.credential()
	if err != nil {
		return nil, err
	}
	cfg := s.cfg.Upstream
	client, err := upstream.New(upstream.Options{
		BaseURL: cfg.BaseURL, Credential: cred, WorkspaceID: cfg.WorkspaceID,
		RequestsPerMinute: cfg.RequestsPerMinute,
		RequestTimeout:    time.Duration(cfg.RequestTimeout),
		SendTimeout:       time.Duration(cfg.SendTimeout),
		UserAgent:         "toolhand/" + s.opts.Version, Log: s.log,
	})
	if err != nil {
		return nil, &UsageError{err}
	}
	return client, nil
}

// credential finds the credential and makes sure that no log line shows it.
func (s *sessions) credential() (upstream.Credential, error) {
	cred, err := config.FindCredential(s.cfg, s.opts.LookupEnv)
	if err != nil {
		return upstream.Credential{}, &UsageError{err}
	}
	s.opts.Secrets.Add(cred.Secret())
	s.log.Debug("credential found", "credential", cred)
	switch cred.Kind {
	case config.KindAPIKey:
		return upstream.Credential{APIKey: cred.Secret()}, nil
	case config.KindAuthToken:
		return upstream.Credential{AuthToken: cred.Secret()}, nil
	}
	return upstream.Credential{}, nil
}

func (s *sessions) open(ctx context.Context) error {
	s.owner = rand.Text()
	s.named.configured = s.cfg.Sessions.IDs
	s.unknown = make(chan string, len(s.cfg.Sessions.IDs))
	s.fleet = fleet.New(fleet.Config{New: s.newSession, MaxActive: s.cfg.Sessions.MaxActive, Ended: s.sessionEnded, Log: s.log})
	if s.opts.Forgets {
		s.journal = &journal.Memory{}
		return nil
	}
	if err := s.openBus(ctx); err != nil {
		return err
	}
	var err error
	s.store, err = journal.Open(ctx, s.bus.JetStream(), journal.Options{
		Replicas: s.cfg.NATS.Replicas, MaxBytes: int64(s.cfg.Journal.MaxBytes), Sole: s.bus.Embedded(), Writable: s.bus.Healthy,
		Witness: s.bus.Witness("KV_" + journal.Bucket), Log: s.log,
	})
	if errors.Is(err, journal.ErrNoRoom) {
		err = fmt.Errorf("%w: give the account that much, or set journal.max_bytes to less", err)
	}
	if err != nil {
		return fmt.Errorf("the journal can't be opened: %w", err)
	}
	s.journal = s.store
	s.retention = &journal.Retention{Journal: s.store, Served: s.served, Over: s.isOver, Log: s.log}
	if d := damageOf(s.bus); d != nil {
		s.log.Warn("the journal was damaged: open calls from before are not run again where their tool is not idempotent; 'worker journal trust' ends that", "damaged", d.Found, "doubted_for", d.DoubtedFor)
	}
	if s.bus.Listening() != "" {
		if err := s.queue.Admit(s.bus.Conn(), natswire.HandInSubjects); err != nil {
			return fmt.Errorf("results from outside can't be taken: %w", err)
		}
	}
	if max := s.bus.MaxPayload(); max < bus.MaxPayload {
		s.log.Warn("the NATS server takes smaller messages than the largest result: longer results are cut; raise its max_payload", "max_payload", max, "largest_result", bus.MaxPayload)
	}
	if st, err := s.store.Status(ctx); err == nil {
		s.log.Info("journal open", "server", s.bus.Status().Server, "store", s.bus.Status().StoreDir, "entries", st.Entries)
	}
	return nil
}

// stopLeft stops what still runs of calls that another worker has started.
func (s *sessions) stopLeft(calls []tools.Call) error {
	marks := make([][]string, len(calls))
	for i, c := range calls {
		marks[i] = toolexec.Marks(c)
	}
	_, err := s.procs.StopLeft(marks)
	return err
}

func (s *sessions) newSession(id string, permanent bool) fleet.Session {
	set := loop.Settings{
		Session: id, Owner: s.owner,
		Lookup:        s.lookup,
		IgnoreUnknown: s.cfg.Tools.Unknown == config.UnknownIgnore,
		Eager:         s.cfg.Results.Flush == config.FlushEager,
		Linger:        time.Duration(s.cfg.Results.Linger),
		Reconcile:     time.Duration(s.cfg.Upstream.ReconcileInterval),
		Jitter: func(d time.Duration) time.Duration {
			return d/2 + mathrand.N(d/2+1)
		},
	}
	if s.bus != nil {
		set.Doubt, set.DoubtUntil = s.doubts.of(s.bus, id)
	}
	if !permanent {
		set.MaxIdle = time.Duration(s.cfg.Sessions.MaxIdle)
	}
	cfg := loop.Config{
		Settings: set, Client: s.client, Slots: s.slots, Circuits: s.circuits,
		Journal: s.journal, StopLeft: s.stopLeft, Log: s.log,
		StreamIdle: time.Duration(s.cfg.Upstream.StreamIdleTimeout), Report: s.ended,
	}
	if !set.Doubt || !set.DoubtUntil.IsZero() {
		return loop.New(cfg)
	}
	cfg.Live = s.bus.Live
	return doubtedSession{loop.New(cfg), id, &s.doubts}
}

// lookup finds a tool in the set in force.
func (w *Worker) lookup(name string) (*registry.Tool, bool) {
	t, ok := w.Set().Lookup(name)
	if ok && t.Guessed() && w.cfg.Tools.Unknown == config.UnknownIgnore {
		return nil, false // it is looked at again when the server has listed its tools
	}
	return t, ok
}

// isOver asks the API whether a session can take no result any more. Where it does
// not say so, the session lives.
func (s *sessions) isOver(ctx context.Context, session string) bool {
	got, err := s.client.Get(ctx, session, false)
	var e *upstream.Error
	if errors.As(err, &e) {
		return e.Kind() == upstream.KindGone
	}
	return err == nil && got.Over()
}

// served are the sessions that are served, or will be.
func (s *sessions) served() map[string]bool {
	all := map[string]bool{}
	for _, id := range s.named.ids() {
		all[id] = true
	}
	for _, st := range s.statuses() {
		all[st.ID] = true
	}
	return all
}

func (s *sessions) greet() {
	isKind := func(kind string) func(*registry.Tool) bool {
		return func(t *registry.Tool) bool { return t.Kind == kind }
	}
	list := s.Set().Tools()
	s.log.Info("worker started", "version", s.opts.Version, "config", cmp.Or(s.opts.Source, "defaults"), "tools", len(list),
		"sessions", len(s.cfg.Sessions.IDs), "api", s.cfg.Upstream.BaseURL)
	for _, key := range config.Inert(s.cfg) {
		s.log.Warn("a key of the configuration has no effect in this version", "key", key)
	}
	if os.Geteuid() == 0 && slices.ContainsFunc(list, isKind("exec")) {
		s.log.Warn("the worker runs as root: nothing can be hidden from an exec tool that runs as root too; run the worker as another user, or give each exec tool a user")
	}
	// An embedded server without an address is reached from inside this process alone.
	if s.isolated() && slices.ContainsFunc(list, isKind("nats")) {
		s.log.Warn("nobody can answer for the nats tools: set nats.listen to an address for their handlers, or nats.url to a server")
	}
	if len(s.cfg.Sessions.IDs) == 0 {
		s.log.Warn("no session to serve: name one with --session or sessions.ids")
	}
}

func (s *sessions) serve(drain, hard context.Context) (left int, broken error) {
	drain, drained := context.WithCancel(drain)
	defer drained()
	beside, end := context.WithCancel(context.WithoutCancel(hard))
	var wg sync.WaitGroup
	var nobody error
	if s.store != nil {
		wg.Go(func() {
			if broken = s.bus.Watch(beside, s.store.Refused); broken != nil {
				s.log.Error("draining: the store has to be opened anew", "error", broken)
				drained()
			}
		})
		wg.Go(func() { s.retention.Run(beside) })
	}
	if watch := s.discovery(beside); watch != nil {
		s.firstTools(drain, watch)
		wg.Go(func() { watch.Run(beside) })
	}
	if s.opts.Sole {
		wg.Go(func() {
			for range s.cfg.Sessions.IDs {
				select {
				case <-s.unknown:
				case <-beside.Done():
					return
				}
			}
			nobody = Usagef("no session to serve: the API knows none of %s: check the ids, and the workspace of the key", strings.Join(s.cfg.Sessions.IDs, ", "))
			drained()
		})
	}
	done := make(chan int)
	go func() { done <- s.fleet.Serve(drain, hard, time.Duration(s.cfg.Shutdown.Grace)) }()
	for _, id := range s.named.ids() {
		if _, err := s.attach(hard, id, byConfiguration); err != nil && !errors.Is(err, fleet.ErrDraining) {
			s.log.Error("session is not served", "session", id, "error", err)
		}
	}
	if s.bus != nil {
		stop, err := s.answerAttach(beside)
		if err != nil {
			s.log.Error("nobody can attach sessions over NATS", "error", err)
		} else {
			defer stop()
		}
	}
	left = <-done
	end()
	wg.Wait()
	return left, cmp.Or(broken, nobody)
}

// Requests counts the requests to the API of a worker for Sessions.
func (w *Worker) Requests() upstream.Counts { return w.service.(*sessions).client.Counts() }

// sessionEnded takes in that a session has ended.
func (s *sessions) sessionEnded(st loop.Status) {
	if !st.NotFound || !slices.Contains(s.cfg.Sessions.IDs, st.ID) {
		return
	}
	s.log.Error("the API knows no such session: check the id, and the workspace of the key", "session", st.ID)
	select {
	case s.unknown <- st.ID:
	default: // it was counted
	}
}

func (s *sessions) renew(ctx context.Context) error {
	broken := s.renameIDs(ctx)
	cred, err := s.credential()
	if err != nil {
		s.log.Error("credential not reloaded; the old one stays in force", "error", err)
		return errors.Join(broken, err)
	}
	s.client.Renew(cred)
	return broken
}

func (s *sessions) reloaded(ctx context.Context) { s.fleet.Reload(ctx) }

func (s *sessions) close() {
	s.client.Close()
}

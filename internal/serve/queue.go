package serve

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/registry"
	"toolhand/internal/tools/natswire"
	"toolhand/internal/tools/queue"
)

const (
	// lookEvery is how often the set of tools is looked at, and a consumer that
	// nobody has made yet is looked for.
	lookEvery = 2 * time.Second
	// pullWait is how long one request for a job stands at the server, and so how
	// long a drain may wait for the last one.
	pullWait = 2 * time.Second
	// pullSlack is how long the end of a request may be late.
	pullSlack = time.Second
	// roomEvery is how often room is looked for that nobody tells of: a tool's
	// slot is free when its processes are gone.
	roomEvery = 50 * time.Millisecond
	// askTimeout bounds one question to the server.
	askTimeout = 5 * time.Second
)

// A puller takes the jobs of one tool, one at a time, while there is room to run
// them. Its fields but answered belong to its goroutine; what find sets is read by the
// callback of its subscription too.
type puller struct {
	s    *Server
	name string

	consumer   jetstream.Consumer
	looked     time.Time     // when the server's clock was last looked at
	clock      serverClock   // read by the callback too
	next       string        // the subject on which a job is asked for
	border     bool          // the queue is behind the border of a worker's server
	ackWait    time.Duration // how long it may be silent about a job
	maxDeliver int           // how often a job is handed out; -1: any number

	answered chan int // the request was answered: 0 by a job, else a status
	// standing is until when a request may stand at the server whose answer was
	// not seen.
	standing time.Time
	hard     context.Context // its end stops at once, whatever stands
}

// pullAll works off the queue for the tools of the set in force until ctx ends.
// What was taken then has begun, unless hard has ended too.
func (s *Server) pullAll(ctx, hard context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	stops := map[string]context.CancelFunc{}
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		tools, _ := s.offers()
		now := make(map[string]bool, len(tools))
		for _, t := range tools {
			now[t.Name] = true
			if stops[t.Name] == nil {
				own, stop := context.WithCancel(ctx)
				stops[t.Name] = stop
				p := &puller{s: s, name: t.Name, hard: hard}
				all.Go(func() { p.run(own) })
			}
		}
		for name, stop := range stops {
			if !now[name] {
				stop()
				delete(stops, name)
			}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// run takes jobs until ctx ends.
func (p *puller) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := p.find(ctx)
		if err == nil {
			err = p.pull(ctx)
		}
		if err != nil && ctx.Err() == nil {
			p.s.cfg.Log.Debug("no jobs for a tool now", "tool", p.name, "error", err)
			sleep(ctx, lookEvery)
		}
	}
}

// find looks for the tool's consumer.
func (p *puller) find(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	consumer, api, err := queue.FindJobs(ctx, p.s.cfg.Conn, p.name)
	if err != nil {
		return err
	}
	p.consumer, p.looked = consumer, time.Now()
	p.clock.learn(consumer.CachedInfo())
	cfg := consumer.CachedInfo().Config
	p.next = api + "CONSUMER.MSG.NEXT." + natswire.JobStream + "." + p.name
	p.border = api != "$JS.API."
	p.ackWait, p.maxDeliver = cfg.AckWait, cfg.MaxDeliver
	return nil
}

// pull asks for jobs until ctx ends, or the consumer is there no more. When it
// returns, what the server has handed out has begun. No request stands then: where
// one stands whose subject nobody listens on any more, the server takes its job as
// handed out once, and one that may not run twice would be lost.
func (p *puller) pull(ctx context.Context) error {
	nc := p.s.cfg.Conn
	p.answered = make(chan int, 16)
	closed := make(chan struct{})
	sub, err := nc.Subscribe(nc.NewInbox(), p.arrived)
	if err != nil {
		return err
	}
	sub.SetClosedHandler(func(string) { close(closed) })
	defer func() {
		sleep(p.hard, time.Until(p.standing))
		if err := sub.Drain(); err != nil {
			return // with the connection: nothing comes any more
		}
		select {
		case <-closed:
		case <-time.After(askTimeout):
			p.s.cfg.Log.Warn("jobs may be on their way that nobody takes in", "tool", p.name)
		}
	}()
	back := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(back)
	for p.waitRoom(ctx) {
		p.lookAtClock(ctx)
		if err := p.ask(sub.Subject, back); err != nil {
			return err
		}
	}
	return nil
}

// ask asks for one job, and waits until that is answered. A drain does not end the
// wait: the job that comes yet is done.
func (p *puller) ask(inbox string, back <-chan nats.Status) error {
	request := fmt.Appendf(nil, `{"batch":1,"expires":%d}`, pullWait.Nanoseconds())
	if err := p.s.cfg.Conn.PublishRequest(p.next, inbox, request); err != nil {
		sleep(p.hard, roomEvery) // the connection is away
		return nil
	}
	begun := time.Now()
	if begun.Before(p.standing) { // a job may be the answer to the older one
		p.standing = begun.Add(pullWait + pullSlack)
	}
	over := time.NewTimer(pullWait + pullSlack)
	defer over.Stop()
	select {
	case status := <-p.answered:
		return statusError(status)
	case <-back: // gone with the connection, or still there
		p.standing = begun.Add(pullWait + pullSlack)
	case <-over.C:
	case <-p.hard.Done():
	}
	return nil
}

// statusError says of the answer to a request whether another one makes sense.
func statusError(status int) error {
	switch status {
	case 0, 404, 408: // a job, none, none in time
		return nil
	case 503:
		return queue.ErrNoJobs
	}
	return fmt.Errorf("the server answers with status %d", status)
}

// waitRoom waits until another call of the tool can run here at once, and reports
// false when ctx ends.
func (p *puller) waitRoom(ctx context.Context) bool {
	for ctx.Err() == nil {
		t, ok := p.s.cfg.Set().Lookup(p.name)
		freed := p.s.freedLater()
		if ok && p.s.room(t) {
			return true
		}
		select {
		case <-freed:
		case <-time.After(roomEvery):
		case <-ctx.Done():
		}
	}
	return false
}

// room reports whether a slot of the process and one of the tool are free.
func (s *Server) room(t *registry.Tool) bool {
	if s.cfg.Concurrency > 0 && s.Open() >= s.cfg.Concurrency {
		return false
	}
	load := s.cfg.Once.Slots.Load()[t.LimitName()]
	return load.Waiting == 0 && (t.Concurrency <= 0 || load.Running < t.Concurrency)
}

// freedLater gives a channel that closes when the next call has ended.
func (s *Server) freedLater() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.freed
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

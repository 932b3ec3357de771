package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// ServeOptions say how [Serve] serves.
type ServeOptions struct {
	// Server are the options of the server. Its hooks are called besides Log.
	Server Options
	// Log tells what happens. Nil discards.
	Log *slog.Logger
	// OnEnd is told once what became of the script's calls: when the script is at
	// its end, or failed with an error, or when the serving ends before. Nil: nobody is.
	OnEnd func(t Tally, failed error)
	// Exit ends the serving when the script is at its end, rather than with
	// the context.
	Exit bool
}

// Serve plays a script on a server behind a listener, which it closes, until the
// context ends, which is no error. A script that fails ends it with the error
// at once.
func Serve(ctx context.Context, ln net.Listener, script *Script, opts ServeOptions) error {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	n := narrator{log: opts.Log, next: opts.Server}
	opts.Server.OnEvent, opts.Server.OnAnswer = n.event, n.answer
	if opts.Server.KeepRequests == 0 {
		opts.Server.KeepRequests = 1000
	}
	srv := New(opts.Server)
	srv.Prepare(script)
	web := &http.Server{Handler: srv, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(opts.Log.Handler(), slog.LevelDebug)}
	served := make(chan error, 1)
	go func() { served <- web.Serve(ln) }()
	opts.Log.Info("the simulated API listens", "url", "http://"+ln.Addr().String(), "sessions", script.Places()[0], "count", len(script.Places()))

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	played := make(chan error, 1)
	go func() {
		err := srv.Play(ctx, script)
		if ctx.Err() != nil {
			err = nil // it did not come to its end
		}
		if opts.OnEnd != nil {
			opts.OnEnd(srv.Tally(script), err)
		}
		played <- err
	}()
	failed := await(ctx, served, played, opts)
	cancel()
	<-played // closed, or the script's end
	srv.Close()
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer stop()
	if err := web.Shutdown(grace); errors.Is(err, context.DeadlineExceeded) {
		_ = web.Close() // what a client holds open is cut
	}
	return failed
}

// await waits until the serving is to end, and returns why where that is an error.
func await(ctx context.Context, served, played chan error, opts ServeOptions) error {
	for {
		select {
		case err := <-served:
			return fmt.Errorf("serve the simulated API: %w", err)
		case <-ctx.Done():
			return nil
		case err, open := <-played:
			if !open {
				played = nil
				continue
			}
			close(played)
			opts.Log.Info("the script is at its end", "error", err)
			if opts.Exit || err != nil {
				return err
			}
		}
	}
}

// narrator logs what happens on a server.
type narrator struct {
	log  *slog.Logger
	next Options // the hooks of whoever serves
}

func (n narrator) event(e Event) {
	if n.next.OnEvent != nil {
		n.next.OnEvent(e)
	}
	queued := e.ProcessedAt.IsZero()
	level := slog.LevelInfo
	if queued {
		level = slog.LevelDebug
	}
	n.log.Log(context.Background(), level, e.Type, "session", e.Session, "id", e.ID, "queued", queued, "event", string(e.Data))
}

func (n narrator) answer(q Request) {
	if n.next.OnAnswer != nil {
		n.next.OnAnswer(q)
	}
	level := slog.LevelDebug
	if q.Status >= 400 || q.Status == 0 {
		level = slog.LevelWarn
	}
	n.log.Log(context.Background(), level, "request", "method", q.Method, "path", q.Path, "session", q.Session,
		"status", q.Status, "took", q.Done.Sub(q.At))
}

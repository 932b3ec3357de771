package loop

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"

	"toolhand/internal/apispec"
)

// pipes is a network of net.Pipe: HTTP runs over it inside a synctest bubble,
// where sockets would keep time from passing.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

// dial gives the client's end of a new connection.
func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
	case <-ctx.Done():
	}
	client.Close()
	server.Close()
	return nil, &net.OpError{Op: "dial", Net: "pipe", Err: net.ErrClosed}
}

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements net.Listener.
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80} }

// serve serves a handler over the pipes until the test ends.
func (p *pipes) serve(t *testing.T, h http.Handler) {
	server := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(p) // always ErrServerClosed
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
}

// scenario runs a test of a served session in fake time, over pipes.
func scenario(t *testing.T, change func(*options), f func(t *testing.T, r *rig)) {
	t.Helper()
	apispec.Load(t) // reads a file and runs go list: not in the bubble
	synctest.Test(t, func(t *testing.T) {
		f(t, newRig(t, func(o *options) {
			o.pipe = true
			if change != nil {
				change(o)
			}
		}))
	})
}

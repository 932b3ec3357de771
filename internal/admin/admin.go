package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	// readTimeout is a client's time to ask, writeTimeout its time to get the
	// answer, both in wall clock from the first byte.
	readTimeout  = 5 * time.Second
	writeTimeout = 30 * time.Second // of a reload, which waits for MCP servers
	idleTimeout  = 30 * time.Second
	maxHeader    = 16 << 10
	// stopTimeout is how long answers in the making hold up a stop.
	stopTimeout = time.Second
)

// Server is an admin address. It is made by [Listen]; what it shows, and what can be
// asked of it, is registered before Serve is called.
type Server struct {
	listener net.Listener
	token    string
	tls      *tls.Config // nil: plain HTTP
	log      *slog.Logger
	alive    *part[[]Reason] // nil: always, as ready
	ready    *part[[]Reason]
	sections map[string]*part[any]
	actions  []action
	calls    *Calls // nil: there are none
	outcomes []string
}

// Listen takes the address addr (host:port; port 0 takes any). token is what
// all but /healthz and /readyz must show as a bearer; empty means that nobody need. It must
// not be empty where addr is not loopback. log may be nil.
func Listen(addr, token string, log *slog.Logger) (*Server, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("admin address %s can't be taken: %w; is another worker running? admin.listen sets another", addr, err)
	}
	if token == "" && !loopback(listener.Addr()) {
		listener.Close()
		return nil, fmt.Errorf("admin address %s is not loopback: admin.token_file is required", addr)
	}
	return &Server{listener: listener, token: token, log: log, sections: map[string]*part[any]{}}, nil
}

func loopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// Addr is the address that was taken, with its port.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Section registers what /api/v1/status shows under name: a snapshot that
// encoding/json can write and nobody changes any more. f is called by one
// goroutine at a time.
func (s *Server) Section(name string, f func() any) { s.sections[name] = newPart(f) }

// Request is what an action is asked for.
type Request struct {
	// Name is what the path has behind that of the action, where this ends with a slash.
	Name string
	// Body is that of a POST, at most 64 KiB of it.
	Body []byte
}

// action is what can be asked of the worker.
type action struct {
	method, path string
	do           func(context.Context, Request) (status int, body any)
}

// Action registers what a POST or a DELETE to the path does; a path that ends with a slash
// has a name behind it. The answer is body as JSON, with the status. do is called by any
// number of goroutines; its context ends when the client goes away.
func (s *Server) Action(method, path string, do func(context.Context, Request) (status int, body any)) {
	s.actions = append(s.actions, action{method, path, do})
}

// Serve answers until ctx is done, then stops within a second or so and returns
// nil. Another return means that the address is lost. It is called once.
func (s *Server) Serve(ctx context.Context) error {
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// What a stranger's broken request looks like is not worth a line.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	served := make(chan error, 1)
	go func() {
		if s.tls == nil {
			served <- server.Serve(s.listener)
			return
		}
		server.TLSConfig = s.tls
		served <- server.ServeTLS(s.listener, "", "") // the certificate is in TLSConfig
	}()
	select {
	case err := <-served:
		return fmt.Errorf("admin address %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin address %s: %w", s.Addr(), err)
	}
	return nil
}

// TLS has the address answer by TLS alone. It is called before Serve.
func (s *Server) TLS(cfg *tls.Config) { s.tls = cfg }

// Close gives the address up without having served. After Serve it does nothing.
func (s *Server) Close() error { return s.listener.Close() }

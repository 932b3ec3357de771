package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"toolhand/internal/bus"
	"toolhand/internal/config"
	"toolhand/internal/registry"
)

// linkTimeout bounds the connection of a command that ends soon.
const linkTimeout = 2 * time.Second

// conn is the connection that nats tools are asked on: the journal's own.
func (w *worker) conn() (*nats.Conn, error) {
	if w.bus == nil {
		return nil, errors.New("the worker has no connection to NATS yet")
	}
	return w.bus.Conn(), nil
}

// warnOfNATS logs that nobody can answer for nats tools: an embedded server
// without an address is reached from inside this process alone.
func (w *worker) warnOfNATS() {
	isNATS := func(t *registry.Tool) bool { return t.Kind == "nats" }
	if w.cfg.NATS.URL == "" && w.cfg.NATS.Listen == "" && slices.ContainsFunc(w.registry.Set().Tools(), isNATS) {
		w.log.Warn("nobody can answer for the nats tools: set nats.listen to an address for their handlers, or nats.url to a server")
	}
}

// errNoNATS says what a command lacks that opens no store.
var errNoNATS = errors.New("set nats.url to the server where its handler is, or nats.listen to the address of the worker that runs here")

// natsLink is the connection of a command that ends soon: to nats.url, else to
// the worker that runs here, as one of those that come by nats.listen. It is made
// when it is first asked for.
type natsLink struct {
	cfg config.NATS

	mu sync.Mutex
	nc *nats.Conn // guarded by mu; nil: not made
}

// conn makes the connection, or gives the one that is there.
func (l *natsLink) conn() (*nats.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.nc != nil {
		return l.nc, nil
	}
	url, opts, err := l.where()
	if err != nil {
		return nil, err
	}
	if l.cfg.CredentialsFile == "" {
		opts = append(opts, bus.OwnInbox(url)...)
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil && l.cfg.URL == "" {
		return nil, fmt.Errorf("no worker can be reached at nats.listen %s: %w", l.cfg.Listen, err)
	}
	if err != nil {
		return nil, fmt.Errorf("the server at nats.url can't be reached: %w", err)
	}
	l.nc = nc
	return nc, nil
}

func (l *natsLink) where() (url string, opts []nats.Option, err error) {
	opts = []nats.Option{nats.Name("toolhand tools"), nats.Timeout(linkTimeout), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})} // the default prints
	if l.cfg.TokenFile != "" {
		token, err := config.ReadKeyFile(l.cfg.TokenFile)
		if err != nil {
			return "", nil, fmt.Errorf("nats.token_file: %w", err)
		}
		opts = append(opts, nats.Token(token))
	}
	if l.cfg.CredentialsFile != "" {
		opts = append(opts, nats.UserCredentials(l.cfg.CredentialsFile))
	}
	if l.cfg.URL != "" {
		return l.cfg.URL, opts, nil
	}
	host, port, err := net.SplitHostPort(l.cfg.Listen)
	if err != nil || port == "0" {
		return "", nil, errNoNATS
	}
	if l.cfg.TLSCertFile != "" {
		own, err := ownTLS(l.cfg.TLSCertFile)
		if err != nil {
			return "", nil, fmt.Errorf("nats.tls_cert_file: %w", err)
		}
		opts = append(opts, nats.Secure(own))
	}
	return "nats://" + net.JoinHostPort(dialed(host), port), opts, nil
}

// close ends the connection once what was published last is out.
func (l *natsLink) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.nc != nil {
		_ = l.nc.FlushTimeout(linkTimeout) // at worst a handler is not told that its call is over
		l.nc.Close()
	}
}

package worker

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"toolhand/internal/bus"
	"toolhand/internal/config"
)

// linkTimeout bounds the connection of a command that ends soon.
const linkTimeout = 2 * time.Second

// errNoNATS says what a command lacks that opens no store.
var errNoNATS = errors.New("set nats.url to the server where its handler is, or nats.listen to the address of the worker that runs here")

// link is the connection of a command that ends soon: to nats.url, else to
// the worker that runs here, as one of those that come by nats.listen. It is made
// when it is first asked for.
type link struct {
	cfg config.NATS

	mu sync.Mutex
	nc *nats.Conn // guarded by mu; nil: not made
}

// conn makes the connection, or gives the one that is there.
func (l *link) conn() (*nats.Conn, error) {
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

func (l *link) where() (url string, opts []nats.Option, err error) {
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

// close ends the connection once what was published last is out. It may be nil.
func (l *link) close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.nc != nil {
		_ = l.nc.FlushTimeout(linkTimeout) // at worst a handler is not told that its call is over
		l.nc.Close()
	}
}

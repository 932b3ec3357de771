package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MaxPayload is the size in bytes of the largest message that the embedded
// server takes, headers included.
const MaxPayload = 8 << 20

const (
	defaultStartTimeout = 30 * time.Second
	defaultMaxMemory    = 256 << 20
	defaultMinFree      = 64 << 20
	defaultWatch        = 5 * time.Second
)

var (
	// ErrStoreHeld says that another process has the store open.
	ErrStoreHeld = errors.New("the store is in use by another process")
	// ErrTooOld says that a server lacks what the journal needs.
	ErrTooOld = errors.New("the NATS server is too old")
	// ErrLowSpace says that the store's disk is nearly full: what is written
	// still gets there, and nothing new should begin.
	ErrLowSpace = errors.New("the store's disk is nearly full")
	// ErrListen says that nats.listen can't be what it is.
	ErrListen = errors.New("nats.listen")
	// errClosed is why nothing works after Close.
	errClosed = errors.New("the NATS connection was closed")
)

// Options say where NATS is. The zero value of a field means what its comment
// says; with a URL, the fields of the embedded server have no effect.
type Options struct {
	// URL is a server or several, comma separated (nats://, tls://; a token or
	// a user may stand in it). Empty means the embedded server.
	URL string
	// CredentialsFile is shown to the server at URL. Empty: none.
	CredentialsFile string
	// Token is shown to the server at URL. Empty: none.
	Token string
	// CoreOnly is for a connection to URL that does without JetStream.
	CoreOnly bool
	// TLS is for servers at URL. Nil: the system's roots where URL asks for
	// TLS.
	TLS *tls.Config

	// StoreDir is where the embedded server keeps its files; see [StoreDir].
	// It must not be empty without a URL.
	StoreDir string
	// SyncInterval is how often the embedded server brings its files to disk.
	// Zero: before each acknowledgement.
	SyncInterval time.Duration
	// Listen is an address (host:port, port 0 takes a free one) for handlers
	// from outside. Empty: none.
	Listen string
	// ListenToken is what they show. Empty is for loopback addresses only.
	ListenToken string
	// ListenTLS is what Listen shows them. Nil: no TLS.
	ListenTLS *tls.Config
	// MaxMemory bounds JetStream's memory streams, in bytes. Zero: 256 MiB.
	MaxMemory int64
	// MinFree is how many bytes must be free on the store's disk for the bus
	// to be healthy. Zero: 64 MiB; below zero: no such bound.
	MinFree int64
	// WatchInterval is how often the store is looked at. Zero: 5 s.
	WatchInterval time.Duration

	// StartTimeout bounds Open in wall clock. Zero: 30 s.
	StartTimeout time.Duration
	// Log receives what happens. Nil discards.
	Log *slog.Logger
}

// Bus is an open connection. Its methods may be called by many goroutines at
// once.
type Bus struct {
	opts Options // immutable, with its defaults
	log  *slog.Logger
	nc   *nats.Conn
	js   jetstream.JetStream

	store *store         // nil for an external server
	srv   *server.Server // the same
	// listener is what Options.Listen asks for; nil: nothing.
	listener *listener
	// started is closed when the server's start has ended; nil before it.
	started chan struct{}

	mu        sync.Mutex
	closed    bool      // guarded by mu
	awaySince time.Time // guarded by mu; zero while connected
	awayWhy   error     // guarded by mu
	toldAway  time.Time // guarded by mu; the last line about it
}

// Open starts the embedded server or connects to the external one, and returns
// when JetStream can be used. It gives up at the end of ctx or StartTimeout, and
// its error says why. Errors: [ErrStoreHeld], [ErrTooOld], [ErrListen], or what
// the operating system, the server or the network said.
func Open(ctx context.Context, opts Options) (*Bus, error) {
	opts = opts.withDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, opts.StartTimeout,
		fmt.Errorf("NATS was not ready within %s", opts.StartTimeout))
	defer cancel()
	b := &Bus{opts: opts, log: opts.Log}
	open := b.openEmbedded
	if opts.URL != "" {
		open = b.openExternal
	}
	err := open(ctx)
	if err == nil && !(opts.CoreOnly && opts.URL != "") {
		err = b.checkServer(ctx)
	}
	if err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if left := b.Close(stop); left != nil {
			b.log.Warn("NATS is not closed in full", "error", left)
		}
		return nil, err
	}
	return b, nil
}

func (o Options) withDefaults() Options {
	o.StartTimeout = or(o.StartTimeout, defaultStartTimeout)
	o.MaxMemory = or(o.MaxMemory, defaultMaxMemory)
	o.MinFree = or(o.MinFree, defaultMinFree)
	o.WatchInterval = or(o.WatchInterval, defaultWatch)
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return o
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// Close ends the connection, and then the embedded server: what is acknowledged
// is in its files, and its store is free for another process. It waits until
// then or until ctx is done. A second Close does nothing.
func (b *Bus) Close(ctx context.Context) error {
	b.mu.Lock()
	again := b.closed
	b.closed = true
	b.mu.Unlock()
	if again {
		return nil
	}
	if b.store != nil {
		b.store.stopWatch()
	}
	if b.nc != nil {
		if b.nc.IsConnected() {
			if err := b.nc.FlushWithContext(ctx); err != nil {
				b.log.Warn("what was last published may not have reached NATS", "error", err)
			}
		}
		b.nc.Close()
	}
	if b.listener != nil {
		b.listener.close()
	}
	if b.srv != nil {
		if err := b.stopServer(ctx); err != nil {
			return err // and the store stays held: its files are still in use
		}
	}
	if b.store != nil {
		return errors.Join(b.store.closeWitnesses(), b.store.release())
	}
	return nil
}

// Conn is the connection itself.
func (b *Bus) Conn() *nats.Conn { return b.nc }

// JetStream is the JetStream of the connection.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }

// MaxPayload is the size in bytes of the largest message that the server takes,
// headers included.
func (b *Bus) MaxPayload() int64 { return b.nc.MaxPayload() }

// Embedded reports whether the server runs in this process.
func (b *Bus) Embedded() bool { return b.srv != nil }

// isClosed reports whether Close was called.
func (b *Bus) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

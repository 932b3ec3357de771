package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	maxConnections = 1024
	// maxStore is no bound: each stream has its own. The server would hold one of all
	// against what the streams have from another configuration too, and refuse the
	// journal at a start that makes the queue's smaller.
	maxStore = math.MaxInt64
)

// openEmbedded reserves the store, starts the server and connects to it.
func (b *Bus) openEmbedded(ctx context.Context) (err error) {
	opts, auth, err := b.serverOptions()
	if err != nil {
		return err
	}
	if b.store, err = openStore(ctx, b.opts); err != nil {
		b.store = nil
		return err
	}
	opts.StoreDir = b.store.dir
	b.store.watch(b.opts.WatchInterval)
	before, err := b.store.streams()
	if err != nil {
		return err
	}
	blocks, err := b.store.openFiles()
	if err != nil {
		return err
	}
	defer closeBlocks(blocks)
	if err := b.store.note(blocks); err != nil {
		return err
	}
	if err := b.store.mendDescriptions(before); err != nil {
		return err
	}
	bridge := &serverLog{log: b.log}
	if err := b.startServer(ctx, opts, auth, bridge); err != nil {
		return err
	}
	if err := bridge.unreadableFile(); err != nil {
		return fmt.Errorf("store of NATS can't be read, nothing in it was set aside: %w", err)
	}
	b.nc, err = nats.Connect("", append(b.connOptions(),
		nats.InProcessServer(b.srv), nats.UserInfo(ownAccount, auth.secret))...)
	if err != nil {
		return fmt.Errorf("embedded NATS server: %w", err)
	}
	if b.js, err = jetstream.New(b.nc); err != nil {
		return err
	}
	if err := b.findDamage(before, blocks); err != nil {
		return err
	}
	if err := b.dropConsumers(); err != nil {
		return err
	}
	if b.opts.Listen != "" {
		if b.listener, err = listen(b.srv, b.opts.Listen, b.opts.ListenTLS); err != nil {
			return err
		}
	}
	b.store.done.Go(func() { b.observe(b.opts.WatchInterval) })
	return nil
}

func (b *Bus) serverOptions() (*server.Options, *clients, error) {
	opts := &server.Options{}
	if err := opts.ProcessConfigString(accounts); err != nil {
		return nil, nil, fmt.Errorf("accounts of the embedded NATS server: %w", err)
	}
	auth := &clients{secret: rand.Text(), token: b.opts.ListenToken, log: b.log}
	opts.ServerName = serverName
	opts.DontListen = true
	opts.NoSigs = true
	opts.DisableJetStreamBanner = true
	opts.JetStream = true
	opts.JetStreamMaxMemory = b.opts.MaxMemory
	opts.JetStreamMaxStore = maxStore
	opts.SyncAlways = b.opts.SyncInterval == 0
	opts.SyncInterval = b.opts.SyncInterval
	opts.MaxPayload = MaxPayload
	opts.MaxConn = maxConnections
	opts.CustomClientAuthentication = auth
	if b.opts.Listen == "" {
		return opts, auth, nil
	}
	opts.ProxyProtocol = true
	opts.AuthTimeout = authTimeout
	return opts, auth, checkListen(b.opts.Listen, b.opts.ListenToken)
}

// checkListen takes nats.listen apart. Where others than this machine could come, a
// token is required.
func checkListen(listen, token string) error {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("%w: %w; expected host:port", ErrListen, err)
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return fmt.Errorf("%w: the port of %q is no number up to 65535", ErrListen, listen)
	}
	ip := net.ParseIP(host)
	if token == "" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%w: %s is not loopback: nats.token_file is required", ErrListen, listen)
	}
	return nil
}

// startServer starts the server; files of a hundred thousand entries are read in
// well under a second. A start that outlasts ctx is given up, and what is left
// of it ends when the disk has answered.
func (b *Bus) startServer(ctx context.Context, opts *server.Options, auth *clients, bridge *serverLog) error {
	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("embedded NATS server: %w", err)
	}
	srv.SetLogger(bridge, false, false)
	if auth.own, err = srv.LookupAccount(ownAccount); err != nil {
		return fmt.Errorf("embedded NATS server: %w", err)
	}
	if auth.outside, err = srv.LookupAccount(outsideAccount); err != nil {
		return fmt.Errorf("embedded NATS server: %w", err)
	}
	b.srv = srv
	started := make(chan struct{})
	b.started = started
	go func() {
		defer close(b.started)
		srv.Start()
	}()
	ready := time.NewTicker(2 * time.Millisecond)
	defer ready.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("embedded NATS server: %w", context.Cause(ctx))
		case <-started:
			if why := bridge.fatalText(); why != "" {
				return fmt.Errorf("embedded NATS server: %s", why)
			}
			if !srv.JetStreamEnabled() {
				return errors.New("embedded NATS server: JetStream did not start")
			}
			return nil
		case <-ready.C:
			if why := bridge.fatalText(); why != "" {
				return fmt.Errorf("embedded NATS server: %s", why)
			}
		}
	}
}

func (b *Bus) stopServer(ctx context.Context) error {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if b.started != nil {
			<-b.started // a server that stops while it starts leaves files open
		}
		b.srv.Shutdown()
		b.srv.WaitForShutdown()
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("embedded NATS server did not stop in time: %w", context.Cause(ctx))
	}
}

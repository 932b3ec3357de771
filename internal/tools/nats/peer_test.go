package nats_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"toolhand/internal/tools"
	"toolhand/internal/tools/handlertest"
	toolnats "toolhand/internal/tools/nats"
)

// natsServer is a server that a test may stop; connect makes the worker's
// connection to it.
type natsServer struct {
	url     string
	stop    func()
	connect func(t *testing.T) *nats.Conn
}

// embedNATS starts a server in this process.
func embedNATS(t *testing.T) *natsServer {
	t.Helper()
	srv, err := server.NewServer(handlertest.NATSOptions(server.RANDOM_PORT))
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	stop := sync.OnceFunc(func() { srv.Shutdown(); srv.WaitForShutdown() })
	t.Cleanup(stop)
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	return &natsServer{url: srv.ClientURL(), stop: stop, connect: func(t *testing.T) *nats.Conn {
		return handlertest.DialNATS(t, "", nats.InProcessServer(srv))
	}}
}

// spawnNATS starts a server as a process of its own. Port 0 takes a free one.
func spawnNATS(t *testing.T, port int) *natsServer {
	t.Helper()
	cmd := exec.Command(os.Args[0], handlertest.ChildArg, "nats-server", fmt.Sprint(port))
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = in.Close()
		_ = cmd.Wait()
	})
	t.Cleanup(stop)
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the NATS server says nothing: %v", err)
	}
	url = strings.TrimSpace(url)
	return &natsServer{url: url, stop: stop, connect: func(t *testing.T) *nats.Conn { return handlertest.DialNATS(t, url) }}
}

// serveNATS is what the child does, until it is killed or its parent is gone.
func serveNATS(port string) int {
	opts := handlertest.NATSOptions(server.RANDOM_PORT)
	if _, err := fmt.Sscan(port, &opts.Port); err == nil && opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		return 1
	}
	fmt.Println(srv.ClientURL())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

func newNATS(t *testing.T, cfg toolnats.Config, common tools.Common, nc *nats.Conn) tools.Handler {
	t.Helper()
	h, err := toolnats.New(cfg, common, func() (*nats.Conn, error) { return nc, nil })
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// natsPeer answers on a subject until the end of the test. lose breaks off.
func natsPeer(t *testing.T, url, subject string, b handlertest.Behaviour, lose func()) {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(0))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	_, err = nc.QueueSubscribe(subject, "peers", func(m *nats.Msg) {
		all.Go(func() { answerNATS(ctx, nc, m, b, lose) })
	})
	if err := errors.Join(err, nc.Flush()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); cancel(); all.Wait() })
}

func answerNATS(ctx context.Context, nc *nats.Conn, m *nats.Msg, b handlertest.Behaviour, lose func()) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	about := handlertest.About{
		Tool: m.Header.Get("Tool-Name"), ID: m.Header.Get("Tool-Use-Id"), Session: m.Header.Get("Session-Id"),
		Thread: m.Header.Get("Session-Thread-Id"), Deadline: m.Header.Get("Tool-Deadline"),
	}
	if over, err := nc.Subscribe("toolhand.cancel."+about.ID, func(*nats.Msg) { cancel() }); err == nil {
		defer over.Unsubscribe()
	}
	if b == handlertest.Lose {
		lose()
		return
	}
	var out bytes.Buffer
	err := handlertest.Serve(ctx, b, about, bytes.NewReader(m.Data), &out, handlertest.NATSPayload)
	reply := nats.NewMsg(m.Reply)
	reply.Data = out.Bytes()
	if err != nil {
		reply.Header.Set("Nats-Service-Error", err.Error())
		reply.Header.Set("Nats-Service-Error-Code", "500")
	}
	if ctx.Err() == nil {
		_ = m.RespondMsg(reply) // the worker's side finds what is missing
	}
}

package bus_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"toolhand/internal/bus"
	"toolhand/internal/testkit"
)

// The test binary plays the processes that are killed or refused: this
// variable says which.
const roleEnv = "BUS_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role, args, _ := strings.Cut(os.Getenv(roleEnv), " "); role {
	case "":
		testkit.SideBySide(8) // they wait for servers and disks
		goleak.VerifyTestMain(m)
	case "hold": // a process that has the store open until its stdin ends
		os.Exit(hold(args, false))
	case "write": // the same, which writes before
		os.Exit(hold(args, true))
	case "as": // the same as "hold" or "write", as another user
		os.Exit(as(strings.Fields(args)))
	case "few": // the same, with few files
		os.Exit(few(strings.Fields(args)))
	case "server": // an external nats-server
		os.Exit(serve(strings.Fields(args)))
	}
}

func hold(dir string, writes bool) int {
	b, err := bus.Open(context.Background(), bus.Options{StoreDir: dir})
	if err != nil {
		fmt.Println("refused:", err)
		return 2
	}
	if writes {
		ctx := context.Background()
		kv, err := b.JetStream().CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "toolhand_calls"})
		for _, key := range []string{"j", "k"} {
			if err == nil {
				_, err = kv.PutString(ctx, key, "v")
			}
		}
		if err != nil {
			fmt.Println("failed:", err)
			return 1
		}
		fmt.Println("written")
	} else {
		fmt.Println("held")
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	if b.Close(context.Background()) != nil {
		return 1
	}
	return 0
}

// serve is nats-server with a port, a directory, and the token that it wants.
func serve(args []string) int {
	opts := &server.Options{Host: "127.0.0.1", JetStream: args[1] != "none", StoreDir: args[1], NoSigs: true, SyncAlways: true}
	if _, err := fmt.Sscan(args[0], &opts.Port); err != nil {
		panic(err)
	}
	if len(args) > 2 {
		opts.Authorization = args[2]
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		panic(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		return 1
	}
	fmt.Println(srv.ClientURL())
	select {} // until killed
}

// play starts the test binary in a role and returns the first line that it
// says. kill ends it at once, as often as it is called.
func play(t *testing.T, role string) (says string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
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
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = in.Close()
		_ = cmd.Wait()
	})
	t.Cleanup(kill)
	says, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s says nothing: %v", role, err)
	}
	return strings.TrimSpace(says), kill
}

// open opens a bus that is closed at the end of the test.
func open(t *testing.T, opts bus.Options) *bus.Bus {
	t.Helper()
	b, err := bus.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, b) })
	return b
}

func shut(t *testing.T, b *bus.Bus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
}

// lines is a log that a test looks at.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

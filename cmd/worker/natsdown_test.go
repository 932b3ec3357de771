package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"toolhand/internal/testkit"
)

// natsMain plays a nats-server that has its configuration in a file, until it is
// killed.
func natsMain() {
	opts, err := natsserver.ProcessConfigFile(os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	opts.NoSigs = true
	srv, err := natsserver.NewServer(opts)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	srv.ConfigureLogger()
	srv.Start()
	select {}
}

// launchNATS starts a nats-server with the configuration NAME.conf in dir.
func launchNATS(t *testing.T, dir, name, conf string) *running {
	t.Helper()
	file := filepath.Join(dir, name+".conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return startIn(t, dir, name, append(os.Environ(), "GORACE=atexit_sleep_ms=0"), "natsd", file)
}

// freePorts are ports that nobody has, below those that the kernel gives to
// connections: a server that is killed finds its own free again.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range 1000 {
		if len(ports) == n {
			return ports
		}
		port := 15000 + rand.IntN(17000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer l.Close()
		ports = append(ports, port)
	}
	t.Fatal("no free port")
	return nil
}

// TestNATSKilledUnderLoad kills the external server again and again while sixty
// agents call tools: the worker goes on by itself, and since it lives, each call
// has its true result.
func TestNATSKilledUnderLoad(t *testing.T) {
	testkit.OnlyInFull(t)
	t.Parallel()
	port := freePorts(t, 1)[0]
	l := newLoad(t, 60, map[string]string{"worker.yaml": fmt.Sprintf("+nats: {url: 'nats://127.0.0.1:%d'}\n", port)})
	conf := fmt.Sprintf("listen: '127.0.0.1:%d'\njetstream { store_dir: '%s' }\n", port, filepath.Join(l.dir, "nats"))
	server := launchNATS(t, l.dir, "nats", conf)
	r := l.launch(t, "run")
	isReady(t, r, 200)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l.begin(ctx, l.all, 2*time.Second, "pay", "pay", "look")
	random := rand.New(rand.NewPCG(l.seed, 1<<32))
	const kills = 6
	for i := range kills {
		time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond) // a random moment
		server.kill()
		if i < 2 {
			if body := isReady(t, r, 503); !strings.Contains(body, "journal") {
				t.Errorf("/readyz does not name the journal: %s", body)
			}
		}
		// Now and then away for longer than a result waits for the journal.
		time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
		server = launchNATS(t, l.dir, "nats", conf)
		isReady(t, r, 200)
	}
	stop()
	l.agents.Wait()
	l.answered(t, r, time.Minute)
	v := l.judge(t)
	t.Logf("%d kills of the server", kills)
	if v.done != v.calls {
		t.Errorf("%d of %d calls are done", v.done, v.calls)
	}
	entries(t, r, 0)
	testkit.Enough(t, v.calls, 200, "calls")
}

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/testkit"
)

// natsCluster is three nats-servers as processes of their own.
type natsCluster struct {
	dir     string
	urls    []string
	confs   []string
	servers []*running
}

func startNATSCluster(t *testing.T, dir string) *natsCluster {
	t.Helper()
	ports := freePorts(t, 6)
	c := &natsCluster{dir: dir}
	var routes []string
	for _, port := range ports[3:] {
		routes = append(routes, fmt.Sprintf("'nats://127.0.0.1:%d'", port))
	}
	for i := range 3 {
		c.urls = append(c.urls, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
		c.confs = append(c.confs, fmt.Sprintf("server_name: n%d\nlisten: '127.0.0.1:%d'\njetstream { store_dir: '%s' }\n"+
			"cluster { name: three, listen: '127.0.0.1:%d', routes: [%s] }\n",
			i, ports[i], filepath.Join(dir, fmt.Sprintf("n%d", i)), ports[3+i], strings.Join(routes, ", ")))
		c.servers = append(c.servers, nil)
		c.start(t, i)
	}
	return c
}

func (c *natsCluster) start(t *testing.T, i int) {
	t.Helper()
	c.servers[i] = launchNATS(t, c.dir, fmt.Sprintf("n%d", i), c.confs[i])
}

// leader waits until the journal's bucket has a leader, and all its copies are
// current.
func (c *natsCluster) leader(t *testing.T, js jetstream.JetStream) int {
	t.Helper()
	var last error
	for bound := time.Now().Add(2 * patience); time.Now().Before(bound); time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		s, err := js.Stream(ctx, "KV_toolhand_calls")
		cancel()
		if last = err; err != nil {
			continue
		}
		in := s.CachedInfo().Cluster
		var n int
		if _, err := fmt.Sscanf(in.Leader, "n%d", &n); err != nil {
			continue
		}
		current := 0
		for _, r := range in.Replicas {
			if r.Current && !r.Offline {
				current++
			}
		}
		if current == 2 {
			return n
		}
		last = fmt.Errorf("only %d copies are current", current)
	}
	t.Fatalf("the bucket has no leader with two copies: %v", last)
	return 0
}

// TestClusterLosesItsLeader kills the server that leads the journal's bucket, with
// three copies, while fifty agents call tools.
func TestClusterLosesItsLeader(t *testing.T) {
	testkit.OnlyInFull(t)
	t.Parallel()
	l := newLoad(t, 50, nil)
	c := startNATSCluster(t, l.dir)
	l.write(t, "worker.yaml", "+nats: {url: '"+strings.Join(c.urls, ",")+"', replicas: 3}\n")
	r := l.launch(t, "run") // while the servers are still looking for each other
	isReady(t, r, 200)
	nc, err := nats.Connect(strings.Join(c.urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l.begin(ctx, l.all, 2*time.Second, "pay", "pay", "look")
	random := rand.New(rand.NewPCG(l.seed, 1<<32))
	const kills = 3
	for range kills {
		lead := c.leader(t, js)
		time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond) // a random moment
		c.servers[lead].kill()
		time.Sleep(time.Duration(random.IntN(4000)) * time.Millisecond)
		c.start(t, lead)
	}
	c.leader(t, js)
	isReady(t, r, 200)
	stop()
	l.agents.Wait()
	l.answered(t, r, time.Minute)
	v := l.judge(t)
	t.Logf("%d kills of the leader", kills)
	if v.done != v.calls {
		t.Errorf("%d of %d calls are done", v.done, v.calls)
	}
	entries(t, r, 0)
	testkit.Enough(t, v.calls, 100, "calls")
}

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// natsHandlerMain plays a handler of pay and look that comes to the server
// os.Args[1] and keeps its record in os.Args[2], until it is killed.
func natsHandlerMain() {
	nc, err := nats.Connect(os.Args[1], nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, tool := range []string{"pay", "look"} {
		_, err := nc.QueueSubscribe("toolhand.tool."+tool, "handlers", func(m *nats.Msg) {
			go func() {
				text := "done"
				if err := note(os.Args[2], tool, m.Header.Get("Tool-Use-Id")); err != nil {
					text = err.Error()
				}
				_ = m.Respond([]byte(text)) // where that fails nobody hears: that is what is tested
			}()
		})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	select {}
}

// TestNATSHandlersKilled kills the worker, the handlers of its tools and the NATS
// server at random, while agents call tools without end: invariants 1 to 3 hold, and
// each answer says what was so. With an embedded server the worker takes it along.
func TestNATSHandlersKilled(t *testing.T) {
	t.Parallel()
	for name, external := range map[string]bool{"external": true, "embedded": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := freePorts(t, 1)[0]
			where := fmt.Sprintf("+nats: {listen: '127.0.0.1:%d'}\n", port)
			if external {
				where = fmt.Sprintf("+nats: {url: 'nats://127.0.0.1:%d'}\n", port)
			}
			l := newLoad(t, 6, map[string]string{"worker.yaml": where,
				"tools.d/pay.yaml": killedTool("pay", "{nats: {}}"), "tools.d/look.yaml": killedTool("look", "{nats: {}}")})
			url := fmt.Sprintf("nats://127.0.0.1:%d", port)
			conf := fmt.Sprintf("listen: '127.0.0.1:%d'\njetstream { store_dir: '%s' }\n", port, filepath.Join(l.dir, "nats"))
			worker := &victim{start: func() *running { return l.launch(t, "run") }}
			handlers := &victim{start: func() *running {
				return startIn(t, l.dir, "handlers", append(os.Environ(), "GORACE=atexit_sleep_ms=0"), "natshandler", url, l.dir)
			}}
			victims := []*victim{handlers, worker}
			if external {
				victims = append([]*victim{{start: func() *running { return launchNATS(t, l.dir, "nats", conf) }}}, victims...)
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			l.begin(ctx, l.all, 50*time.Millisecond, "pay", "pay", "look")
			killAtRandom(t, rand.New(rand.NewPCG(l.seed, 1<<32)), victims...)
			l.seesEnough()
			stop()
			l.agents.Wait()
			l.answered(t, worker.now, time.Minute)
			l.judgeRemote(t)
		})
	}
}

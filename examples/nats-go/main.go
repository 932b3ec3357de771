// Command nats-go is a tool that answers on a NATS subject: a micro service, so
// that the tools of NATS find it too. Start as many as you like, each call goes to
// one of them:
//
//	go run ./examples/nats-go
//
// NATS_URL names the server (127.0.0.1:4222 if it is empty), and NATS_TOKEN the
// token that it wants. NATS_USER is a name of its own where the server is a worker's
// nats.listen: nobody else reads its inbox then.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

func main() {
	if err := serve(); err != nil {
		log.Fatal(err)
	}
}

func serve() error {
	opts := []nats.Option{nats.Token(os.Getenv("NATS_TOKEN")), nats.MaxReconnects(-1)}
	if user := os.Getenv("NATS_USER"); user != "" {
		opts = append(opts, nats.UserInfo(user, ""), nats.CustomInboxPrefix("_INBOX_"+user))
	}
	nc, err := nats.Connect(cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL), opts...)
	if err != nil {
		return err
	}
	defer nc.Close()
	calls := &running{stop: map[string]context.CancelFunc{}}
	if _, err := nc.Subscribe("toolhand.cancel.*", calls.cancelled); err != nil {
		return err
	}
	svc, err := micro.AddService(nc, micro.Config{Name: "countdown", Version: "1.0.0"})
	if err != nil {
		return err
	}
	// A service has one request at a time unless its handler starts a goroutine.
	answer := micro.HandlerFunc(func(r micro.Request) { go calls.answer(r) })
	if err := svc.AddEndpoint("countdown", answer, micro.WithEndpointSubject("toolhand.tool.countdown")); err != nil {
		return err
	}
	if err := nc.Flush(); err != nil { // from here on calls arrive
		return err
	}
	fmt.Println("ready")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	<-ctx.Done()
	return svc.Stop()
}

// running is what stops each call that runs, by its Tool-Use-Id.
type running struct {
	mu   sync.Mutex
	stop map[string]context.CancelFunc
}

// cancelled is told that nobody waits for a call any more.
func (c *running) cancelled(m *nats.Msg) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stop := c.stop[m.Header.Get("Tool-Use-Id")]; stop != nil {
		stop()
	}
}

// answer runs one call. Its input has been checked against the schema.
func (c *running) answer(r micro.Request) {
	id := r.Headers().Get("Tool-Use-Id")
	ctx, cancel := context.WithCancel(context.Background())
	c.mu.Lock()
	c.stop[id] = cancel
	c.mu.Unlock()
	defer func() {
		cancel()
		c.mu.Lock()
		delete(c.stop, id)
		c.mu.Unlock()
	}()
	var input struct{ Seconds float64 }
	if err := json.Unmarshal(r.Data(), &input); err != nil {
		_ = r.Error("400", err.Error(), nil)
		return
	}
	select {
	case <-time.After(time.Duration(input.Seconds * float64(time.Second))):
		_ = r.Respond(fmt.Appendf(nil, "lift-off after %g s", input.Seconds))
	case <-ctx.Done():
		log.Print("stopped: ", id)
	}
}

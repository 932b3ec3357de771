// Command queue-go works off the calls of the tool reindex that wait in the job
// queue. Start as many as you like, each call goes to one of them:
//
//	go run ./examples/queue-go
//
// NATS_URL names the server (127.0.0.1:4222 if it is empty), NATS_TOKEN the token
// that it wants, and NATS_DOMAIN is toolhand where it is a worker's nats.listen.
// docs/queue.md has the protocol; its steps are numbered here.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	tool   = "reindex"
	atOnce = 4 // so many calls run in this process
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := work(ctx); err != nil {
		log.Fatal(err)
	}
}

func work(ctx context.Context) error {
	opts := []nats.Option{nats.Token(os.Getenv("NATS_TOKEN")), nats.MaxReconnects(-1)}
	domain := os.Getenv("NATS_DOMAIN")
	if domain != "" { // there an inbox is read by its user alone: a name that nobody can guess
		name := rand.Text()
		opts = append(opts, nats.UserInfo(name, ""), nats.CustomInboxPrefix("_INBOX_"+name))
	}
	nc, err := nats.Connect(cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL), opts...)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if domain != "" {
		js, err = jetstream.NewWithDomain(nc, domain)
	}
	if err != nil {
		return err
	}
	w := &worker{js: js, stop: map[string]context.CancelFunc{}}
	if _, err := nc.Subscribe("toolhand.cancel.*", w.cancelled); err != nil {
		return err
	}
	fmt.Println("ready")
	var running sync.WaitGroup
	defer running.Wait()
	room := make(chan struct{}, atOnce)
	for ctx.Err() == nil {
		// 1. The worker makes the consumer with the first call of the tool.
		jobs, err := js.Consumer(ctx, "TOOLHAND_JOBS", tool)
		if err != nil {
			time.Sleep(time.Second)
			continue
		}
		w.ackWait = jobs.CachedInfo().Config.AckWait
		for err == nil && ctx.Err() == nil {
			room <- struct{}{} // 2. one that can begin at once is asked for, no more
			var m jetstream.Msg
			if m, err = jobs.Next(jetstream.FetchMaxWait(5 * time.Second)); err != nil {
				<-room
				if errors.Is(err, nats.ErrTimeout) {
					err = nil // there was none
				}
				continue
			}
			running.Go(func() { w.run(m); <-room })
		}
	}
	return nil
}

type worker struct {
	js      jetstream.JetStream
	ackWait time.Duration

	mu   sync.Mutex
	stop map[string]context.CancelFunc // of each call that runs, by its Tool-Use-Id
}

// cancelled is told that nobody waits for a call any more.
func (w *worker) cancelled(m *nats.Msg) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if stop := w.stop[m.Header.Get("Tool-Use-Id")]; stop != nil {
		stop()
	}
}

// run does one job. Its input has been checked against the schema.
func (w *worker) run(m jetstream.Msg) {
	id := m.Headers().Get("Tool-Use-Id")
	deadline, err := time.Parse(time.RFC3339Nano, m.Headers().Get("Tool-Deadline"))
	if id == "" || err != nil {
		_ = m.Term() // it is no call
		return
	}
	// 3. Who is late does not begin.
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if ctx.Err() != nil {
		_ = m.Ack()
		return
	}
	w.mu.Lock()
	w.stop[id] = cancel
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.stop, id)
		w.mu.Unlock()
	}()
	// 4. A call that may not run twice is begun by who says so first.
	if err := w.claim(ctx, m); err != nil {
		log.Printf("%s is left alone: %v", id, err)
		return
	}
	// 5. The queue hears that it goes on.
	go goesOn(ctx, m, w.ackWait/3)
	text, err := reindex(ctx, m.Data())
	if ctx.Err() != nil {
		_ = m.Ack() // nobody waits
		return
	}
	// 6, 7. First the result, and when the server has it the end of the job.
	if err := w.handIn(m, text, err); err != nil {
		log.Printf("the result of %s can't be handed in: %v", id, err)
		return
	}
	_ = m.DoubleAck(context.Background())
}

// goesOn says so until the call is over.
func goesOn(ctx context.Context, m jetstream.Msg, every time.Duration) {
	for tick := time.NewTicker(every); ; {
		select {
		case <-tick.C:
			_ = m.InProgress() // the next one follows soon
		case <-ctx.Done():
			tick.Stop()
			return
		}
	}
}

// claim says that the call begins here. It is an error if somebody has said so.
func (w *worker) claim(ctx context.Context, m jetstream.Msg) error {
	expected := m.Headers().Get("Tool-Claim")
	if expected == "" {
		return nil // it may run twice
	}
	msg := nats.NewMsg(m.Headers().Get("Tool-Result-Subject"))
	msg.Header.Set("Toolhand-Outcome", "begun")
	msg.Header.Set("Nats-Expected-Last-Subject-Sequence", expected)
	msg.Header.Set("Nats-Msg-Id", "claim."+rand.Text()) // said twice, it counts once
	_, err := w.js.PublishMsg(ctx, msg)
	return err
}

// handIn publishes what the call came to until the server has it.
func (w *worker) handIn(m jetstream.Msg, text string, failure error) (err error) {
	msg := nats.NewMsg(m.Headers().Get("Tool-Result-Subject"))
	msg.Header.Set("Nats-Msg-Id", m.Headers().Get("Nats-Msg-Id"))
	msg.Data = []byte(text)
	if failure != nil {
		msg.Header.Set("Nats-Service-Error", failure.Error())
		msg.Header.Set("Nats-Service-Error-Code", "500")
	}
	for range 30 {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		_, err = w.js.PublishMsg(ctx, msg)
		cancel()
		if err == nil {
			return nil
		}
		time.Sleep(time.Second)
	}
	return err
}

// reindex is the tool itself.
func reindex(ctx context.Context, input []byte) (string, error) {
	var in struct {
		Site    string
		Seconds float64
	}
	if err := json.Unmarshal(input, &in); err != nil {
		return "", err
	}
	if in.Site == "" || strings.ContainsAny(in.Site, "/ ") {
		return "", fmt.Errorf("%q is no site: give its name alone, such as docs.example.com", in.Site)
	}
	select {
	case <-time.After(time.Duration(in.Seconds * float64(time.Second))):
		return "the index of " + in.Site + " is new", nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

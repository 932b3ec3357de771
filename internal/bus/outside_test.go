package bus_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"toolhand/internal/bus"
	"toolhand/internal/tools/natswire"
)

const wait = 5 * time.Second

func dial(t *testing.T, b *bus.Bus, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("nats://"+b.Listening(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func TestListenWantsTheToken(t *testing.T) {
	b := open(t, bus.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", ListenToken: "secret"})
	for _, opts := range [][]nats.Option{nil, {nats.Token("other")}, {nats.UserInfo("toolhand", "")}, {nats.UserInfo("toolhand", "secret")}} {
		nc, err := nats.Connect("nats://"+b.Listening(), opts...)
		if err == nil {
			nc.Close()
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%d options: %v", len(opts), err)
		}
	}
	dial(t, b, nats.Token("secret"))
}

// TestOutsideServesTools: a handler from outside is called, and found.
func TestOutsideServesTools(t *testing.T) {
	b := open(t, bus.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	out := dial(t, b)
	svc, err := micro.AddService(out, micro.Config{Name: "tools", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	err = svc.AddEndpoint("add", micro.HandlerFunc(func(r micro.Request) {
		_ = r.Respond(append([]byte(r.Headers().Get("Tool-Name")+":"), r.Data()...))
	}), micro.WithEndpointSubject("toolhand.tool.add"))
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	m := nats.NewMsg("toolhand.tool.add")
	m.Header.Set("Tool-Name", "add")
	m.Data = []byte("1")
	reply, err := b.Conn().RequestMsg(m, wait)
	if err != nil || string(reply.Data) != "add:1" {
		t.Fatalf("got %v, %v", reply, err)
	}
	info, err := b.Conn().Request("$SRV.INFO", nil, wait)
	if err != nil || len(info.Data) == 0 {
		t.Errorf("the service is not found: %v", err)
	}
	if _, err := b.Conn().Request("toolhand.tool.nobody", nil, wait); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a tool that nobody serves: %v", err)
	}
	if err := svc.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Conn().Request("toolhand.tool.add", nil, wait); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a tool that is served no more: %v", err)
	}
}

// TestOutsideHasTimeToReply: the server's own bound would drop replies after two
// minutes. What is over is told across the border, and in that direction only.
func TestOutsideHasTimeToReply(t *testing.T) {
	b := open(t, bus.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	if bound, err := b.ReplyBound(); err != nil || bound < 24*time.Hour {
		t.Errorf("a reply has %s, %v", bound, err)
	}
	out := dial(t, b)
	theirs, err := out.SubscribeSync("toolhand.cancel.*")
	if err != nil {
		t.Fatal(err)
	}
	ours, err := b.Conn().SubscribeSync("toolhand.cancel.*")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Conn().Flush(), out.Flush()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(out.Publish("toolhand.cancel.x", nil), out.Flush(), b.Conn().Publish("toolhand.cancel.y", nil)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"toolhand.cancel.x", "toolhand.cancel.y"} {
		if m, err := theirs.NextMsg(wait); err != nil || m.Subject != want {
			t.Errorf("outside hears %v, %v, expected %s", m, err, want)
		}
	}
	if m, err := ours.NextMsg(wait); err != nil || m.Subject != "toolhand.cancel.y" {
		t.Errorf("we hear %v, %v", m, err)
	}
}

// TestOutsideDoesNotReachTheJournal tries the ways there are.
func TestOutsideDoesNotReachTheJournal(t *testing.T) {
	t.Parallel()
	b := open(t, bus.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	put(t, b, "s.c", "started")
	out := dial(t, b)
	js, err := jetstream.New(out, jetstream.WithDefaultTimeout(500*time.Millisecond)) // nobody answers
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.KeyValue(t.Context(), "toolhand_calls"); err == nil {
		t.Error("the bucket can be opened")
	}
	ours, err := b.Conn().SubscribeSync("$KV.>")
	if err != nil {
		t.Fatal(err)
	}
	listening, err := out.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Conn().Flush(), out.Flush()); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{
		"$KV.toolhand_calls.s.c", "$JS.toolhand.API.STREAM.PURGE.KV_toolhand_calls", "$JS.toolhand.API.STREAM.INFO.KV_toolhand_calls",
		"$JS.toolhand.API.STREAM.DELETE.TOOLHAND_JOBS", "$JS.API.STREAM.MSG.DELETE.KV_toolhand_calls", "$JS.ACK.KV_toolhand_calls.x", "$JS.API.STREAM.PURGE.KV_toolhand_calls", "$JS.API.STREAM.DELETE.KV_toolhand_calls",
		"$JS.API.STREAM.INFO.KV_toolhand_calls", "$JS.API.DIRECT.GET.KV_toolhand_calls", "$JS.API.STREAM.MSG.GET.KV_toolhand_calls",
		"$JS.API.INFO", "$JS.API.STREAM.CREATE.X", "$JS.API.CONSUMER.CREATE.KV_toolhand_calls", "$SYS.REQ.SERVER.PING",
	} {
		if m, err := out.Request(subject, []byte("{}"), 50*time.Millisecond); err == nil && !strings.Contains(string(m.Data), "JetStream not enabled for account") {
			t.Errorf("%s is answered with %s", subject, m.Data)
		}
	}
	put(t, b, "s.c2", "ours")
	if m, err := ours.NextMsg(wait); err != nil || m.Subject != "$KV.toolhand_calls.s.c2" {
		t.Errorf("our account saw %v, %v", m, err)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	for n, _, _ := listening.Pending(); n > 0; n-- {
		m, err := listening.NextMsg(wait)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject == "$KV.toolhand_calls.s.c2" || string(m.Data) == "ours" {
			t.Errorf("outside hears %s", m.Subject)
		}
	}
	if get(t, b, "s.c") != "started" {
		t.Error("the entry is not what it was")
	}
}

// TestOutsideWorksOffTheQueue: it takes a job, acknowledges it and hands in a
// result, with the consumer that we made.
func TestOutsideWorksOffTheQueue(t *testing.T) {
	b := open(t, bus.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	for name, subject := range map[string]string{"TOOLHAND_JOBS": "toolhand.jobs.>", "TOOLHAND_RESULTS": "toolhand.results.>"} {
		if _, err := b.JetStream().CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{subject}}); err != nil {
			t.Fatal(err)
		}
	}
	cons, err := b.JetStream().CreateConsumer(ctx, "TOOLHAND_JOBS", jetstream.ConsumerConfig{Durable: "add", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.JetStream().Publish(ctx, "toolhand.jobs.add", []byte("1")); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.NewWithDomain(dial(t, b), "toolhand")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := js.Consumer(ctx, "TOOLHAND_JOBS", "add")
	if err != nil {
		t.Fatal(err)
	}
	m, err := theirs.Next(jetstream.FetchMaxWait(wait))
	if err != nil || string(m.Data()) != "1" {
		t.Fatalf("got %v, %v", m, err)
	}
	if err := m.DoubleAck(ctx); err != nil {
		t.Fatal(err)
	}
	if info, err := cons.Info(ctx); err != nil || info.NumAckPending != 0 || info.AckFloor.Consumer != 1 {
		t.Errorf("the job is not acknowledged: %+v, %v", info, err)
	}
	_, err = b.Conn().Subscribe(natswire.HandInSubjects+"*", func(m *nats.Msg) { // who checks results
		says, err := b.Conn().Request(strings.Replace(m.Subject, natswire.HandInSubjects, "toolhand.results.", 1), m.Data, wait)
		if err == nil {
			_ = m.Respond(says.Data)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "toolhand.results.x", []byte("2")); err != nil {
		t.Error(err)
	}
	if err := theirsDelete(ctx, js); err == nil {
		t.Error("the consumer can be deleted from outside")
	}
}

func theirsDelete(ctx context.Context, js jetstream.JetStream) error {
	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	return js.DeleteConsumer(ctx, "TOOLHAND_JOBS", "add")
}

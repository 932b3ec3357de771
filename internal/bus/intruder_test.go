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
)

// user is a client with a user name and its own inbox. What the server refuses it
// goes to refused.
func user(t *testing.T, b *bus.Bus, name string, refused chan error, opts ...nats.Option) *nats.Conn {
	t.Helper()
	return dial(t, b, append(opts, nats.UserInfo(name, "secret"), nats.CustomInboxPrefix("_INBOX_"+name),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if refused != nil {
				refused <- err
			}
		}))...)
}

func listening(t *testing.T) *bus.Bus {
	return open(t, bus.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", ListenToken: "secret"})
}

// TestIntruderHearsNothing: who has the token hears neither what others ask for nor
// what they are answered, in whatever way it asks for it.
func TestIntruderHearsNothing(t *testing.T) {
	b := listening(t)
	refused := make(chan error, 64)
	alice, mallory := user(t, b, "alice", nil), user(t, b, "mallory", refused)
	subjects := []string{
		">", "*.>", "*", "_INBOX_alice.>", "_INBOX_alice.*", "_INBOX_*.>", "_R_.>", "toolhand.>", "toolhand.jobs.>", "toolhand.jobs.render",
		"toolhand.results.>", "toolhand.results.x", "toolhand.handin.>", "toolhand.*.x", "$KV.>", "$KV.toolhand_calls.>",
		"$JS.>", "$JS.ACK.>", "$JS.API.>", "$JS.EVENT.ADVISORY.>", "$SYS.>", "toolhand.attach", "toolhand.ack", "_R_.*.*", "$SYS.REQ.USER.INFO", "$SYS.ACCOUNT.outside.CONNECT",
	}
	var subs []*nats.Subscription
	for _, subject := range subjects {
		sub, err := mallory.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, sub)
	}
	if err := mallory.Flush(); err != nil {
		t.Fatal(err)
	}
	for range subjects {
		select {
		case err := <-refused:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Error(err)
			}
		case <-time.After(wait):
			t.Fatal("a subscription is not refused")
		}
	}
	// Requests of alice, of ours, and their answers go by.
	if _, err := b.Conn().QueueSubscribe("toolhand.tool.never", "q", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Subscribe("toolhand.tool.echo", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := alice.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, nc := range []*nats.Conn{alice, b.Conn()} {
		if m, err := nc.Request("toolhand.tool.echo", []byte("private"), wait); err != nil || string(m.Data) != "private" {
			t.Errorf("%v, %v", m, err)
		}
	}
	put(t, b, "s.c", "private")
	if err := mallory.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, sub := range subs {
		if n, _, _ := sub.Pending(); n > 0 {
			t.Errorf("%d messages on %s", n, sub.Subject)
		}
	}
}

// TestIntruderForgesNoAnswer: only a client that got a request can answer it. The
// subject of an answer to us is random; that of an answer to another client is allowed
// to the connection that got the request.
func TestIntruderForgesNoAnswer(t *testing.T) {
	b := listening(t)
	refused := make(chan error, 64)
	alice, mallory := user(t, b, "alice", nil), user(t, b, "mallory", refused)
	asked := make(chan *nats.Msg, 1)
	if _, err := alice.ChanQueueSubscribe("toolhand.tool.echo", "q", asked); err != nil {
		t.Fatal(err)
	}
	hears, err := mallory.SubscribeSync("toolhand.tool.mine")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(alice.Flush(), mallory.Flush()); err != nil {
		t.Fatal(err)
	}
	for _, nc := range []*nats.Conn{b.Conn(), user(t, b, "bob", nil)} {
		answers := make(chan string, 1)
		go func() {
			m, err := nc.Request("toolhand.tool.echo", nil, wait)
			if err != nil {
				answers <- err.Error()
				return
			}
			answers <- string(m.Data)
		}()
		m := <-asked
		if strings.HasPrefix(m.Reply, "_R_.") {
			parts := strings.Split(m.Reply, ".")
			if len(parts) != 3 || len(parts[2]) < 6 {
				t.Errorf("the subject of an answer is %s: it has not the random part that was counted on", m.Reply)
			}
			guess := []byte(m.Reply)
			guess[len(guess)-1] ^= 1
			for _, subject := range []string{string(guess), parts[0] + "." + parts[1], parts[0] + "." + parts[1] + ".x"} {
				if err := mallory.Publish(subject, []byte("forged")); err != nil {
					t.Fatal(err)
				}
			}
			// Nor by a request of its own that names it.
			if err := errors.Join(mallory.PublishRequest("toolhand.tool.mine", m.Reply, nil), mallory.Flush()); err != nil {
				t.Fatal(err)
			}
			<-refused
			if n, _, _ := hears.Pending(); n > 0 {
				t.Error("a request with a reply that belongs to another one is delivered")
			}
		} else {
			if err := errors.Join(mallory.Publish(m.Reply, []byte("forged")), mallory.Flush()); err != nil {
				t.Fatal(err)
			}
			if err := <-refused; !errors.Is(err, nats.ErrPermissionViolation) {
				t.Error(err)
			}
		}
		if err := m.Respond([]byte("true")); err != nil {
			t.Fatal(err)
		}
		if got := <-answers; got != "true" {
			t.Errorf("the answer is %q", got)
		}
	}
}

// TestAnswerAfterReconnect: a handler whose connection was made again in the middle of
// a call answers it.
func TestAnswerAfterReconnect(t *testing.T) {
	b := listening(t)
	back := make(chan struct{}, 1)
	alice := user(t, b, "alice", nil, nats.ReconnectWait(time.Millisecond), nats.ReconnectHandler(func(*nats.Conn) { back <- struct{}{} }))
	_, err := alice.QueueSubscribe("toolhand.tool.slow", "q", func(m *nats.Msg) {
		if err := alice.ForceReconnect(); err != nil {
			t.Error(err)
		}
		<-back
		if err := m.Respond([]byte("true")); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(err, alice.Flush()); err != nil {
		t.Fatal(err)
	}
	if m, err := b.Conn().Request("toolhand.tool.slow", nil, wait); err != nil || string(m.Data) != "true" {
		t.Errorf("%v, %v", m, err)
	}
}

// TestIntruderAcknowledgesNothing: a job is acknowledged by the connection that took
// it alone, although the subject of that is made of numbers that can be guessed.
func TestIntruderAcknowledgesNothing(t *testing.T) {
	b := listening(t)
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	if _, err := b.JetStream().CreateStream(ctx, jetstream.StreamConfig{Name: "TOOLHAND_JOBS", Subjects: []string{"toolhand.jobs.>"}}); err != nil {
		t.Fatal(err)
	}
	cons, err := b.JetStream().CreateConsumer(ctx, "TOOLHAND_JOBS", jetstream.ConsumerConfig{Durable: "add", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.JetStream().Publish(ctx, "toolhand.jobs.add", []byte("1")); err != nil {
		t.Fatal(err)
	}
	refused := make(chan error, 64)
	alice, mallory := user(t, b, "alice", nil), user(t, b, "mallory", refused)
	js, err := jetstream.NewWithDomain(alice, "toolhand")
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := js.Consumer(ctx, "TOOLHAND_JOBS", "add")
	if err != nil {
		t.Fatal(err)
	}
	m, err := jobs.Next(jetstream.FetchMaxWait(wait))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mallory.Subscribe("toolhand.tool.mine", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	// A request of its own that names the subject does not allow it either.
	if err := errors.Join(mallory.PublishRequest("toolhand.tool.mine", m.Reply(), nil), mallory.Flush()); err != nil {
		t.Fatal(err)
	}
	<-refused
	for _, what := range []string{"+ACK", "-NAK", "+TERM", "+WPI"} {
		if err := errors.Join(mallory.Publish(m.Reply(), []byte(what)), mallory.Flush()); err != nil {
			t.Fatal(err)
		}
		if err := <-refused; !errors.Is(err, nats.ErrPermissionViolation) {
			t.Error(err)
		}
	}
	if info, err := cons.Info(ctx); err != nil || info.NumAckPending != 1 || info.NumRedelivered != 0 {
		t.Errorf("the job is %+v, %v", info, err)
	}
	if err := errors.Join(m.InProgress(), m.DoubleAck(ctx)); err != nil {
		t.Error(err)
	}
	if info, err := cons.Info(ctx); err != nil || info.NumAckPending != 0 {
		t.Errorf("the job is not acknowledged: %+v, %v", info, err)
	}
}

// forbidden are subjects that no client may publish to.
var forbidden = []string{
	"$KV.toolhand_calls.s.c", "$JS.API.STREAM.PURGE.KV_toolhand_calls", "$JS.toolhand.API.STREAM.MSG.GET.TOOLHAND_JOBS",
	"$JS.toolhand.API.STREAM.PURGE.TOOLHAND_JOBS", "$JS.toolhand.API.CONSUMER.CREATE.TOOLHAND_JOBS", "$JS.toolhand.API.DIRECT.GET.TOOLHAND_JOBS",
	"$JS.toolhand.API.STREAM.MSG.GET.TOOLHAND_RESULTS", "$JS.ACK.KV_toolhand_calls.x", "toolhand.jobs.render", "toolhand.handin.x", "toolhand.attach", "_INBOX_alice.x",
	"toolhand.results.x.y", "$JS.ACK.TOOLHAND_JOBS.render.1.1.1.1.0",
	"$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO", "$SYS.REQ.ACCOUNT.outside.CONNZ", "$SYS.REQ.ACCOUNT.PING.SUBSZ", "$JS.API.INFO", "$JS.toolhand.API.STREAM.NAMES",
	"$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.ACCOUNT.PING.STATZ", "_INBOX_mallory2.x", "_INBOX_.x", "_INBOX_mallory",
}

// shared are subjects on which a client called mallory hears what it publishes.
var shared = []string{"toolhand.tool.mine", "$SRV.mine", "toolhand.cancel.mine", "_INBOX_mallory.mine", "_INBOX.mine"}

// got is what the server refused a client; nil: nothing.
func got(refused chan error) error {
	select {
	case err := <-refused:
		return err
	case <-time.After(wait / 10):
		return nil
	}
}

// grant has the server deliver messages to nc, a client called mallory, that name
// subject as where they are answered. It answers those that come.
func grant(t *testing.T, nc *nats.Conn, refused chan error, subject string) {
	t.Helper()
	for _, through := range shared {
		hears, err := nc.SubscribeSync(through)
		if err := errors.Join(err, nc.PublishRequest(through, subject, nil), nc.Flush()); err != nil {
			t.Fatal(err)
		}
		if m, err := hears.NextMsg(10 * time.Millisecond); err == nil {
			t.Errorf("a client gets a message on %s that is to be answered on %s", through, m.Reply)
			if err := m.Respond([]byte("{}")); err != nil {
				t.Fatal(err)
			}
		} else if err := got(refused); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("a message on %s that is to be answered on %s: %v", through, subject, err)
		}
		if err := hears.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIntruderReachesNothingElse: what is not in the list is refused, the attach of
// sessions too, and no client can give it to itself: the server lets who receives a
// message publish where it is to be answered.
func TestIntruderReachesNothingElse(t *testing.T) {
	t.Parallel()
	b := listening(t)
	put(t, b, "s.c", "started")
	ours, err := b.Conn().SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan error, 64)
	alice, mallory := user(t, b, "alice", nil), user(t, b, "mallory", refused)
	theirs, err := alice.SubscribeSync("_INBOX_alice.>")
	if err := errors.Join(err, b.Conn().Flush(), alice.Flush()); err != nil {
		t.Fatal(err)
	}
	for _, subject := range forbidden {
		grant(t, mallory, refused, subject)
		if err := errors.Join(mallory.PublishRequest(subject, mallory.NewInbox(), []byte("{}")), mallory.Flush()); err != nil {
			t.Fatal(err)
		}
		if err := got(refused); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s can be published to: %v", subject, err)
		}
	}
	for whose, sub := range map[string]*nats.Subscription{"our account": ours, "the inbox of alice": theirs} {
		if n, _, _ := sub.Pending(); n > 0 {
			m, _ := sub.NextMsg(wait)
			t.Errorf("%d messages reach %s, the first on %s", n, whose, m.Subject)
		}
	}
	if get(t, b, "s.c") != "started" {
		t.Error("the entry is not what it was")
	}
}

// TestIntruderHasOthersAnswered: what the worker and JetStream answer goes to the inbox
// of who asked.
func TestIntruderHasOthersAnswered(t *testing.T) {
	b := listening(t)
	queueFor(t, b, "add")
	if _, err := b.Conn().Subscribe("toolhand.handin.*", func(m *nats.Msg) { _ = m.Respond([]byte("refused")) }); err != nil {
		t.Fatal(err)
	}
	refused := make(chan error, 64)
	alice, mallory := user(t, b, "alice", nil), user(t, b, "mallory", refused)
	theirs, err := alice.SubscribeSync("_INBOX_alice.x")
	if err := errors.Join(err, alice.Flush(), b.Conn().Flush()); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"toolhand.results.x", "$JS.toolhand.API.STREAM.INFO.TOOLHAND_JOBS", "$JS.toolhand.API.CONSUMER.INFO.TOOLHAND_JOBS.add", "$JS.toolhand.API.CONSUMER.MSG.NEXT.TOOLHAND_JOBS.add"} {
		if err := errors.Join(mallory.PublishRequest(subject, theirs.Subject, nil), mallory.Flush()); err != nil {
			t.Fatal(err)
		}
		if m, err := theirs.NextMsg(50 * time.Millisecond); err == nil {
			t.Errorf("alice is answered what mallory asks on %s: %s", subject, m.Data)
		} else if err := got(refused); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("a request on %s: %v", subject, err)
		}
	}
}

// TestIntruderFindsNobody: the server tells no client who else is there, nor the inboxes
// of others.
func TestIntruderFindsNobody(t *testing.T) {
	b := listening(t)
	refused := make(chan error, 64)
	alice, mallory := user(t, b, "alice", nil), user(t, b, "mallory", refused)
	if _, err := alice.SubscribeSync("_INBOX_alice.secret"); err != nil {
		t.Fatal(err)
	}
	if err := alice.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.SERVER.PING.CONNZ"} {
		for _, through := range shared {
			_, err := mallory.Subscribe(through, func(m *nats.Msg) {
				_ = m.RespondMsg(&nats.Msg{Reply: "_INBOX_mallory.found", Data: []byte(`{"subscriptions":true,"auth":true}`)})
			})
			if err := errors.Join(err, mallory.PublishRequest(through, subject, nil)); err != nil {
				t.Fatal(err)
			}
		}
		found, err := mallory.SubscribeSync("_INBOX_mallory.found")
		if err := errors.Join(err, mallory.Flush()); err != nil {
			t.Fatal(err)
		}
		if m, err := found.NextMsg(100 * time.Millisecond); err == nil {
			t.Errorf("%s is answered: alice is in it: %t", subject, strings.Contains(string(m.Data), "_INBOX_alice.secret"))
		}
	}
}

// queueFor makes the queue's streams and a consumer.
func queueFor(t *testing.T, b *bus.Bus, name string) {
	t.Helper()
	for stream, subject := range map[string]string{"TOOLHAND_JOBS": "toolhand.jobs.>", "TOOLHAND_RESULTS": "toolhand.results.>"} {
		if _, err := b.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{Name: stream, Subjects: []string{subject}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.JetStream().CreateConsumer(t.Context(), "TOOLHAND_JOBS", jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
}

// TestIntruderHearsNoJob: who has all that a client may subscribe to hears nothing of a
// job that another one takes, and can't lead it or its result elsewhere.
func TestIntruderHearsNoJob(t *testing.T) {
	b := listening(t)
	queueFor(t, b, "add")
	_, err := b.Conn().Subscribe("toolhand.handin.*", func(m *nats.Msg) {
		says, err := b.Conn().Request(strings.Replace(m.Subject, "handin", "results", 1), m.Data, wait)
		if err == nil {
			_ = m.Respond(says.Data)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	alice, mallory := user(t, b, "alice", nil), user(t, b, "mallory", nil)
	var heard []*nats.Subscription
	for _, subject := range []string{"toolhand.tool.>", "$SRV.>", "toolhand.cancel.>", "_INBOX_mallory.>", "_INBOX.>"} {
		sub, err := mallory.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		heard = append(heard, sub)
	}
	js, err := jetstream.NewWithDomain(alice, "toolhand")
	if err := errors.Join(err, mallory.Flush()); err != nil {
		t.Fatal(err)
	}
	jobs, err := js.Consumer(t.Context(), "TOOLHAND_JOBS", "add")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := b.JetStream().Publish(t.Context(), "toolhand.jobs.add", []byte("private")); err != nil {
			t.Fatal(err)
		}
		m, err := jobs.Next(jetstream.FetchMaxWait(wait))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), "toolhand.results.x", []byte("private")); err != nil {
			t.Error(err)
		}
		// What alice may publish to because of the job is not what mallory may.
		if err := errors.Join(m.InProgress(), m.DoubleAck(t.Context()), mallory.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	for _, sub := range heard {
		if n, _, _ := sub.Pending(); n > 0 {
			t.Errorf("%d messages on %s", n, sub.Subject)
		}
	}
}

// TestDefaultInboxWorksWithAWarning: a client of before goes on working, and one with
// a user name that can be no part of a subject is one of those.
func TestDefaultInboxWorksWithAWarning(t *testing.T) {
	log := &lines{}
	b := open(t, bus.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", ListenToken: "secret", Log: log.logger()})
	named := user(t, b, "alice", nil)
	if _, err := named.Subscribe("toolhand.tool.echo", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := named.Flush(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(log.String(), "default inbox") {
		t.Error("a client with a name of its own is warned of")
	}
	for _, opts := range [][]nats.Option{{nats.Token("secret")}, {nats.UserInfo("x.>", "secret")}, {nats.UserInfo("*", ""), nats.Token("secret")}} {
		old := dial(t, b, opts...)
		if m, err := old.Request("toolhand.tool.echo", []byte("1"), wait); err != nil || string(m.Data) != "1" {
			t.Errorf("%v, %v", m, err)
		}
	}
	const warning = "a client of nats.listen has the default inbox, which others can read: give it a user name and the inbox prefix _INBOX_<user name>; a later version refuses it"
	if n := strings.Count(log.String(), warning); n != 1 {
		t.Errorf("%d warnings, expected one for all\n%s", n, log)
	}
}

// TestIntruderFillsNoLog: what is refused is logged some times a minute.
func TestIntruderFillsNoLog(t *testing.T) {
	log := &lines{}
	b := open(t, bus.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", ListenToken: "secret", Log: log.logger()})
	mallory := user(t, b, "mallory", nil)
	for range 500 {
		if err := mallory.Publish("toolhand.jobs.x", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := nats.Connect("nats://"+b.Listening(), nats.Token("wrong")); err == nil {
			t.Fatal("a wrong token is taken")
		}
	}
	if err := mallory.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "\n"); n < 5 || n > 25 {
		t.Errorf("%d lines:\n%s", n, log)
	}
}

// TestServicesOfOneConnectionAreFound: each of them answers the same request.
func TestServicesOfOneConnectionAreFound(t *testing.T) {
	b := listening(t)
	out := user(t, b, "alice", nil)
	for range 5 {
		if _, err := micro.AddService(out, micro.Config{Name: "tools", Version: "1.0.0"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, nc := range []*nats.Conn{b.Conn(), user(t, b, "bob", nil)} {
		inbox, err := nc.SubscribeSync(nc.NewInbox())
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.PublishRequest("$SRV.INFO", inbox.Subject, nil); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if _, err := inbox.NextMsg(wait); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestOwnInbox: our own clients take an inbox of their own where the server is a
// worker's, and nowhere else.
func TestOwnInbox(t *testing.T) {
	b := listening(t)
	url := "nats://" + b.Listening()
	if n := len(bus.OwnInbox(url)); n != 2 {
		t.Errorf("%d options for a worker's server", n)
	}
	if n := len(bus.OwnInbox("nats://alice:secret@" + b.Listening())); n != 1 {
		t.Errorf("%d options for a user in the URL", n)
	}
	theirs, _ := play(t, "server 0 none")
	for _, url := range []string{theirs, "nats://127.0.0.1:1", "nats://secret@" + b.Listening(), ":"} {
		if n := len(bus.OwnInbox(url)); n != 0 {
			t.Errorf("%s: %d options", url, n)
		}
	}
	served := open(t, bus.Options{URL: url, Token: "secret", CoreOnly: true})
	if inbox := served.Conn().NewInbox(); !strings.HasPrefix(inbox, "_INBOX_") {
		t.Errorf("its inbox is %s", inbox)
	}
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"toolhand/internal/admin"
	"toolhand/internal/bus"
	"toolhand/internal/journal"
)

// TestServedCallsAreListed: the admin address of `tools serve` lists its calls.
func TestServedCallsAreListed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	port := freePorts(t, 1)[0]
	launchNATS(t, dir, "natsd", fmt.Sprintf("listen: 127.0.0.1:%d\n", port))
	url := fmt.Sprintf("nats://127.0.0.1:%d", port)
	o := newOfferer(t, "one", t.TempDir(), url)
	o.launch(t)
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for id, input := range map[string]string{"sevt_good": `{}`, "sevt_bad": `[]`} {
		m := &nats.Msg{Subject: "toolhand.tool.pay", Data: []byte(input),
			Header: nats.Header{"Tool-Use-Id": {id}, "Session-Id": {"sesn_asker"}, "Session-Thread-Id": {"thread_one"}}}
		if _, err := nc.RequestMsg(m, patience); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string]admin.Call{
		"?outcome=ok":      {ID: "sevt_good", Outcome: "ok"},
		"?outcome=invalid": {ID: "sevt_bad", Outcome: "invalid", Cause: `Invalid input for tool "pay"`},
	} {
		status, body := ask(t, o.running, "/api/v1/calls"+query)
		var got struct{ Calls []admin.Call }
		if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 || len(got.Calls) != 1 {
			t.Fatalf("%d, %v: %s", status, err, body)
		}
		c := got.Calls[0]
		if time.Since(c.Received) > patience || c.Duration <= 0 {
			t.Errorf("received %s, took %v ms", c.Received, c.Duration)
		}
		c.Received, c.Duration = time.Time{}, 0
		want.Session, want.Thread, want.Tool = "sesn_asker", "thread_one", "pay"
		if c != want {
			t.Errorf("listed is %+v, want %+v", c, want)
		}
	}
}

// TestShowFromAServer: where nats.url is set the journal is read there, while workers
// run too, and nothing is made or set up.
func TestShowFromAServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	port := freePorts(t, 1)[0]
	launchNATS(t, dir, "natsd", fmt.Sprintf("listen: 127.0.0.1:%d\njetstream: { store_dir: %q }\n", port, dir+"/js"))
	url := fmt.Sprintf("nats://127.0.0.1:%d", port)
	lay(t, dir, map[string]string{"worker.yaml": "nats: {url: '" + url + "'}\njournal: {max_bytes: 9000000}\n"})
	show := func(want int, args ...string) string {
		t.Helper()
		out, code := shell(t, dir, append([]string{"calls", "show"}, args...)...)
		if code != want {
			t.Errorf("%q exits with %d, want %d: %s", args, code, want, out)
		}
		return out
	}
	if out := show(2, "sevt_one"); !strings.Contains(out, "the journal at nats.url can't be read: there is no journal") {
		t.Error(out)
	}
	ctx := t.Context()
	b, err := bus.Open(ctx, bus.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(context.Background())
	j, err := journal.Open(ctx, b.JetStream(), journal.Options{MaxBytes: 7000000})
	if err != nil {
		t.Fatal(err)
	}
	for _, session := range []string{"sesn_one", "sesn_two"} {
		_, err := j.Finish(ctx, journal.Entry{Session: session, Call: "sevt_one", Thread: "thread_one", Tool: "pay", Owner: "somebody", Outcome: "error", IsError: true,
			Content: []byte(`[{"type":"text","text":"no money\nleft"},{"type":"document","source":{"type":"text","media_type":"text/plain","data":"plain"}},{"type":"text","text":"€"}]`)})
		if err != nil {
			t.Fatal(err)
		}
	}
	out := show(0, "sevt_one")
	for _, want := range []string{"session  sesn_one\n", "session  sesn_two\n", "thread   thread_one\n", "state    finished: the API has not accepted the result yet\n",
		"outcome  error\n", "result   an error, ", "\n\nno money\nleft\n[document, ", " bytes]\n€\n\ncall "} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
	var first struct {
		State, Session string
		Content        []struct{ Text string }
	}
	if err := json.NewDecoder(strings.NewReader(show(0, "sevt_one", "--json"))).Decode(&first); err != nil || first.State != "finished" || first.Session != "sesn_one" || first.Content[2].Text != "€" {
		t.Errorf("as JSON: %+v, %v", first, err)
	}
	if out := show(1, "sevt_two"); !strings.Contains(out, "the journal at nats.url has no entry of call sevt_two") {
		t.Error(out)
	}
	if s, err := b.JetStream().Stream(ctx, "KV_toolhand_calls"); err != nil || s.CachedInfo().Config.MaxBytes != 7000000 {
		t.Errorf("the bucket was set up: %v", err)
	}
	lay(t, dir, map[string]string{"worker.yaml": "nats: {url: 'nats://127.0.0.1:1'}\n"})
	if out := show(2, "sevt_one"); !strings.Contains(out, "the journal at nats.url can't be read: ") {
		t.Error(out)
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"toolhand/internal/admin"
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

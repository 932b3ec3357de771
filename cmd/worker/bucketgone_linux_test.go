package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"toolhand/internal/journal"
	"toolhand/internal/testkit"
)

// TestBucketGone: a worker whose journal's bucket is deleted says so in the log and
// in /readyz, and ends with 1 after a minute; a drain before that ends at once.
func TestBucketGone(t *testing.T) {
	testkit.OnlyInFull(t)
	t.Parallel()
	url := natsForSignals(t)
	files := map[string]string{
		"worker.yaml":        fmt.Sprintf("admin: { listen: '127.0.0.1:0' }\nnats: { url: '%s' }\njournal: { max_bytes: 10000000 }\n", url),
		"tools.d/hello.yaml": "name: hello\ndescription: Say hello.\ninput_schema: { type: object }\nhandler: { exec: { command: [echo, hello] } }\n",
	}
	stays, drains := signalled(t, files, nil, nil, "run"), signalled(t, files, nil, nil, "run")
	says(t, stays, "worker started")
	says(t, drains, "worker started")
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "KV_"+journal.Bucket)
	if err != nil || s.CachedInfo().Config.MaxBytes != 10_000_000 {
		t.Errorf("journal.max_bytes is not the bucket's: %v", err)
	}
	if err := js.DeleteKeyValue(t.Context(), journal.Bucket); err != nil {
		t.Fatal(err)
	}
	says(t, stays, "bucket was deleted")
	says(t, drains, "bucket was deleted")
	if body := isReady(t, stays, 503); !strings.Contains(body, "journal") {
		t.Errorf("/readyz does not name it: %s", body)
	}
	signal1(t, drains, 15)
	endsWith(t, drains, 0, 10*time.Second)
	endsWith(t, stays, 1, 90*time.Second)
}

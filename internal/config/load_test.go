package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"toolhand/internal/document"
)

// write makes a worker.yaml of text and gives its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "worker.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// documented is the configuration of the documentation, every key at its
// default.
const documented = `
upstream:
  base_url: https://api.anthropic.com   # also ANTHROPIC_BASE_URL
  api_key_file: ""
  workspace_id: ""
  requests_per_minute: 600
  stream_idle_timeout: 90s
  reconcile_interval: 5m
  request_timeout: 30s
  send_timeout: 15s
sessions:
  ids: []
  discover:
    agent_ids: []
    interval: 15s
  webhook: { listen: "", path: /webhook }
  max_active: 1000
  max_idle: 60s
results:
  flush: turn
  linger: 250ms
tools:
  unknown: error
  concurrency: 64
  discover: false
nats:
  url: ""
  listen: ""
  token_file: ""
  store_dir: ""
  credentials_file: ""
  replicas: 1
  queue: { max_age: 24h, max_bytes: 1073741824, ack_wait: 30s }
journal:
  sync: always
  max_bytes: 2147483648
admin:
  listen: 127.0.0.1:9464
  token_file: ""
log: { level: info, format: auto }
shutdown: { grace: 30s }
`

// defaultsBeside are the defaults of a file: its tools.d lies beside it.
func defaultsBeside(path string) Config {
	c := Default()
	c.Tools.Dir = filepath.Join(filepath.Dir(path), c.Tools.Dir)
	return c
}

func TestDocumentedDefaults(t *testing.T) {
	path := write(t, documented)
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := defaultsBeside(path)
	// A list that is written down empty is empty and not nil.
	want.Sessions.IDs, want.Sessions.Discover.AgentIDs = []string{}, []string{}
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("the documented defaults load as\n%+v, want\n%+v", *got, want)
	}
}

func TestEveryKeyIsTaken(t *testing.T) {
	path := write(t, `
upstream:
  base_url: http://127.0.0.1:1/base
  api_key_file: key
  workspace_id: wrkspc_1
  requests_per_minute: 0
  stream_idle_timeout: 1s
  reconcile_interval: 2s
  request_timeout: 3s
  send_timeout: 4s
sessions:
  ids: [sesn_1, sesn_2]
  discover: { agent_ids: [agent_1], interval: 5s }
  webhook: { listen: ":8080", path: /hook }
  max_active: 6
  max_idle: 0
results: { flush: eager, linger: 0s }
tools: { dir: my/tools, unknown: ignore, concurrency: 7, discover: [a, b] }
nats: { listen: "0.0.0.0:4222", token_file: tok, store_dir: /abs/store, credentials_file: ../creds, replicas: 3, queue: { max_age: 1h, max_bytes: 2000000, ack_wait: 5s } }
journal: { sync: interval, max_bytes: 3000000 }
admin: { listen: "", token_file: admin-tok }
log: { level: debug, format: json }
shutdown: { grace: 8s }
`)
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	want := Config{
		Upstream: Upstream{
			BaseURL: "http://127.0.0.1:1/base", APIKeyFile: filepath.Join(dir, "key"), WorkspaceID: "wrkspc_1",
			StreamIdleTimeout: Seconds(1), ReconcileInterval: Seconds(2), RequestTimeout: Seconds(3), SendTimeout: Seconds(4),
		},
		Sessions: Sessions{
			IDs:       []string{"sesn_1", "sesn_2"},
			Discover:  SessionsDiscover{AgentIDs: []string{"agent_1"}, Interval: Seconds(5)},
			Webhook:   Webhook{Listen: ":8080", Path: "/hook"},
			MaxActive: 6,
		},
		Results: Results{Flush: FlushEager},
		Tools:   Tools{Dir: filepath.Join(dir, "my/tools"), Unknown: UnknownIgnore, Concurrency: 7, Discover: ToolsDiscover{Names: []string{"a", "b"}}},
		NATS: NATS{
			Listen: "0.0.0.0:4222", TokenFile: filepath.Join(dir, "tok"), StoreDir: "/abs/store",
			CredentialsFile: filepath.Join(filepath.Dir(dir), "creds"), Replicas: 3, Queue: Queue{MaxAge: Seconds(3600), MaxBytes: 2_000_000, AckWait: Seconds(5)},
		},
		Journal:  Journal{Sync: SyncInterval, MaxBytes: 3_000_000},
		Admin:    Admin{TokenFile: filepath.Join(dir, "admin-tok")},
		Log:      Log{Level: "debug", Format: "json"},
		Shutdown: Shutdown{Grace: Seconds(8)},
	}
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("got\n%+v, want\n%+v", *got, want)
	}
}

func TestFilesThatSayNothing(t *testing.T) {
	for _, text := range []string{
		"", "\n", "# a comment\n", "---\n", "--- # here\n", "~\n", "{}\n", "\ufeff", "\ufeffsessions:\n",
		"%YAML 1.2\n---\nsessions:\n", "upstream:\n#  base_url: x\ntools:\n", "sessions: { ids: }\n", "sessions:\n...\n",
	} {
		path := write(t, text)
		got, err := Load(path)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if want := defaultsBeside(path); !reflect.DeepEqual(*got, want) {
			t.Errorf("%q gives %+v, want the defaults", text, *got)
		}
	}
	got, err := Load("")
	if want := Default(); err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("no file gives %+v, %v, want the defaults", got, err)
	}
}

func TestAliasesAreTaken(t *testing.T) {
	got, err := Load(write(t, "upstream:\n  request_timeout: &t 7s\n  send_timeout: *t\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Upstream.SendTimeout != Seconds(7) {
		t.Errorf("send_timeout is %v, want 7s", got.Upstream.SendTimeout)
	}
}

var update = flag.Bool("update", false, "write the golden files anew")

// TestProblems holds what is told of files that are wrong, in pairs of files.
func TestProblems(t *testing.T) {
	const golden = "testdata/problems.txtar"
	archive, err := txtar.ParseFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(archive.Files); i += 2 {
		file, want := archive.Files[i], &archive.Files[i+1]
		got := problems(t, string(file.Data))
		if *update {
			want.Data = []byte(got)
		}
		if got != string(want.Data) {
			t.Errorf("%s: got\n%swant\n%s", file.Name, got, want.Data)
		}
	}
	if *update {
		if err := os.WriteFile(golden, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]string{
		"log:\n  level: \xff\n":               "2:10: the text is not valid UTF-8\n",
		"log: " + strings.Repeat("[", 500000): "1:10006: expected at most 100 levels of nesting, found more\n",
		"log: {level: \"sk-x\"}\n":            "1:14: log.level: expected one of \"debug\", \"info\", \"warn\", \"error\", found string \"sk-x\"\n",
	} {
		if got := problems(t, text); got != want {
			t.Errorf("%.40q: got\n%swant\n%s", text, got, want)
		}
	}
}

// problems is what is told of a file that is wrong, a line each.
func problems(t *testing.T, text string) string {
	t.Helper()
	path := write(t, text)
	cfg, err := Load(path)
	if cfg != nil {
		t.Errorf("a broken file gives a configuration: %+v", cfg)
	}
	var list *document.Errors
	if !errors.As(err, &list) {
		t.Fatalf("%q: got %v, want a *document.Errors", text, err)
	}
	return strings.ReplaceAll(err.Error(), path+":", "") + "\n"
}

func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("a: &a [x,x,x,x,x,x,x,x,x]\n")
	for c := 'b'; c <= 'i'; c++ {
		p := string(c - 1)
		b.WriteString(string(c) + ": &" + string(c) + " [*" + strings.Repeat(p+",*", 8) + p + "]\n")
	}
	b.WriteString("sessions:\n  ids: *i\n")
	_, err := Load(write(t, b.String()))
	var list *document.Errors
	if !errors.As(err, &list) {
		t.Fatalf("got %v, want *document.Errors", err)
	}
	if n := len(list.Problems); n > 30 {
		t.Errorf("%d problems, want no more than the file has places", n)
	}
}

func TestUnreadableFiles(t *testing.T) {
	dir := t.TempDir()
	huge := write(t, "# "+strings.Repeat("x", document.MaxFile))
	for path, want := range map[string]string{
		dir:                        "is not a regular file",
		filepath.Join(dir, "gone"): "no such file",
		huge:                       "has more than 1048576 bytes",
		"/dev/zero":                "is not a regular file",
	} {
		_, err := Load(path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(documented))
	f.Add([]byte("a: &a [*a]\nsessions: {ids: *a}\n<<: *a\n"))
	f.Add([]byte("tools: {discover: [a, b], dir: |\n  x}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg := Default()
		// A parser that hangs would only make the fuzzer slow.
		watchdog := time.AfterFunc(10*time.Second, func() { panic(fmt.Sprintf("still parsing %q", data)) })
		defer watchdog.Stop()
		err := parse("worker.yaml", data, &cfg)
		if err == nil {
			return
		}
		var list *document.Errors
		if !errors.As(err, &list) || len(list.Problems) == 0 {
			t.Fatalf("got %v, want *document.Errors with a problem", err)
		}
		for _, p := range list.Problems {
			if p.Line < 1 || p.Column < 1 || p.Text == "" {
				t.Errorf("a problem without a place or a text: %+v", p)
			}
		}
	})
}

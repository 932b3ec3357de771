package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
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

// TestProblems has one file a row, and all that is to be said of it.
func TestProblems(t *testing.T) {
	const sections = "upstream, sessions, results, tools, nats, journal, admin, log, shutdown"
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"unknown section", "tool: {}\n", []string{"1:1: tool: unknown key, expected one of " + sections}},
		{"unknown key", "log:\n  levle: info\n", []string{"2:3: log.levle: unknown key, expected one of level, format"}},
		{"merge key", "log: &a {level: info}\nadmin:\n  <<: *a\n", []string{"3:3: admin.<<: unknown key, expected one of listen, token_file, tls_cert_file, tls_key_file"}},
		{"no unit", "shutdown: { grace: 90 }\n", []string{"1:20: shutdown.grace: 90 has no unit, expected a duration such as 90s, 5m or 250ms: write 90s for seconds"}},
		{"fraction without a unit", "shutdown: { grace: 1.5 }\n", []string{"1:20: shutdown.grace: 1.5 has no unit, expected a duration such as 90s, 5m or 250ms: write 1.5s for seconds"}},
		{"bad duration", "shutdown:\n  grace: 90 seconds\n", []string{`2:10: shutdown.grace: is "90 seconds", expected a duration such as 90s, 5m or 250ms`}},
		{"duration of the wrong type", "shutdown:\n  grace: [1s]\n", []string{"2:10: shutdown.grace: is a list, expected a duration such as 90s, 5m or 250ms"}},
		{"negative duration", "shutdown:\n  grace: -1s\n", []string{"2:10: shutdown.grace: is -1s, expected 0s or more"}},
		{"no time at all", "upstream:\n  send_timeout: 0s\n", []string{"2:17: upstream.send_timeout: is 0s, expected more than 0s"}},
		{"string for a number", "tools:\n  concurrency: many\n", []string{`2:16: tools.concurrency: is "many", expected a whole number`}},
		{"fraction for a number", "tools:\n  concurrency: 1.5\n", []string{"2:16: tools.concurrency: is the number 1.5, expected a whole number"}},
		{"huge number", "tools:\n  concurrency: 18446744073709551615\n", []string{"2:16: tools.concurrency: is the number 18446744073709551615, expected a whole number"}},
		{"negative number", "upstream:\n  requests_per_minute: -1\n", []string{"2:24: upstream.requests_per_minute: is -1, expected at least 0"}},
		{"number for a string", "upstream:\n  workspace_id: 12\n", []string{"2:17: upstream.workspace_id: is the number 12, expected a string; put quotes around it"}},
		{"nothing for a string", "admin:\n  listen:\n", []string{`2:11: admin.listen: is empty, expected a string; leave the key out for its default, or write "" for none`}},
		{"section for a string", "admin:\n  listen: {a: b}\n", []string{"2:11: admin.listen: is a section with keys, expected a string"}},
		{"string for a section", "admin: off\n", []string{`1:8: admin: is "off", expected keys: listen, token_file, tls_cert_file, tls_key_file`}},
		{"string for a list", "sessions:\n  ids: sesn_1\n", []string{`2:8: sessions.ids: is "sesn_1", expected a list of strings, such as [a, b]`}},
		{"number in a list", "sessions:\n  ids: [a, 7]\n", []string{"2:12: sessions.ids[1]: is the number 7, expected a string; put quotes around it"}},
		{"list for a file", "- a\n", []string{"1:1: is a list, expected keys: " + sections}},
		{"word for a file", "hello\n", []string{`1:1: is "hello", expected keys: ` + sections}},
		{"tag", "admin:\n  listen: !!str x\n", []string{"2:11: admin.listen: has the tag !!str, expected a value without a tag"}},
		{"flush", "results: { flush: always }\n", []string{`1:19: results.flush: is "always", expected turn or eager`}},
		{"unknown", "tools: { unknown: drop }\n", []string{`1:19: tools.unknown: is "drop", expected error or ignore`}},
		{"sync", "journal: { sync: never }\n", []string{`1:18: journal.sync: is "never", expected always or interval`}},
		{"level", "log: { level: INFO }\n", []string{`1:15: log.level: is "INFO", expected debug, info, warn or error`}},
		{"format", "log: { format: xml }\n", []string{`1:16: log.format: is "xml", expected auto, tint, text or json`}},
		{"queue", "nats: { queue: { max_bytes: 5, ack_wait: 0s } }\n", []string{"1:29: nats.queue.max_bytes: is 5, expected at least 1048576", "1:42: nats.queue.ack_wait: is 0s, expected more than 0s"}},
		{"replicas", "nats: { replicas: 0 }\n", []string{"1:19: nats.replicas: is 0, expected 1 to 5"}},
		{"discover", "tools: { discover: yes }\n", []string{`1:20: tools.discover: is "yes", expected true, false or a list of tool names`}},
		{"discover names", "tools: { discover: [a, b c, a] }\n", []string{
			`1:24: tools.discover[1]: is "b c", expected 1-128 letters, digits, _ and -`,
			"1:29: tools.discover[2]: a stands there twice, expected distinct ones"}},
		{"ids", "sessions:\n  ids:\n  - sesn_1\n  - ../x\n  - sesn_1\n", []string{
			`4:5: sessions.ids[1]: is "../x", expected 1-128 letters, digits, _ and -`,
			"5:5: sessions.ids[2]: sesn_1 stands there twice, expected distinct ones"}},
		{"set twice", "log: {level: info}\nlog: {level: warn}\n", []string{"2:1: log: is set twice, expected once; it is on line 1 too"}},
		{"second document", "log: {level: info}\n---\nlog: {level: warn}\n", []string{"2:1: a second document begins here, expected one"}},
		{"second empty document", "log: {level: info}\n---\n", []string{"2:1: a second document begins here, expected one"}},
		{"syntax", "log: [1, 2\n", []string{"1:6: sequence end token ']' not found, expected YAML"}},
		{"tab", "log:\n\tlevel: info\n", []string{"2:1: found character '\t' that cannot start any token, expected YAML"}},
		{"not UTF-8", "log:\n  level: \xff\n", []string{"2:10: is not UTF-8, expected YAML in UTF-8"}},
		{"brackets", "log: " + strings.Repeat("[", 500000), []string{"1:38: brackets are nested more than 32 deep, expected the keys of worker.yaml"}},
		{"alias without anchor", "log: *a\n", []string{"1:6: log: alias *a has no anchor before it, expected a value"}},
		{"alias of itself", "sessions: &a\n  ids: *a\n", []string{"2:3: sessions.ids: is a section with keys, expected a list of strings, such as [a, b]"}},
		{"admin for all", "admin:\n  listen: 0.0.0.0:9464\n", []string{`2:11: admin.listen: is "0.0.0.0:9464", which is not loopback, expected 127.0.0.1, or a token in admin.token_file`}},
		{"nats for all", "nats:\n  listen: :4222\n", []string{`2:11: nats.listen: is ":4222", which is not loopback, expected 127.0.0.1, or a token in nats.token_file`}},
		{"no port", "admin:\n  listen: localhost\n", []string{`2:11: admin.listen: is "localhost", expected host:port such as 127.0.0.1:9464, the port a number`}},
		{"named port", "admin:\n  listen: localhost:http\n", []string{`2:11: admin.listen: is "localhost:http", expected host:port such as 127.0.0.1:9464, the port a number`}},
		{"two NATS", "nats:\n  url: nats://h:4222\n  listen: 127.0.0.1:4222\n", []string{"2:8: nats.url: is set and nats.listen too, expected one of them: listen is the address of the embedded server, which url replaces"}},
		{"NATS URL", "nats:\n  url: nats://a:1,http://user:pw@b\n", []string{"2:8: nats.url: is not the URL of a NATS server, expected such as nats://127.0.0.1:4222, or several with commas between them"}},
		{"base URL", "upstream:\n  base_url: api.anthropic.com\n", []string{"2:13: upstream.base_url: is not an http or https URL, expected such as https://api.anthropic.com"}},
		{"base URL with a query", "upstream:\n  base_url: https://h/?a=b\n", []string{"2:13: upstream.base_url: has a query, expected such as https://api.anthropic.com"}},
		{"base URL with a fragment", "upstream:\n  base_url: https://h/#a\n", []string{"2:13: upstream.base_url: has a fragment, expected such as https://api.anthropic.com"}},
		{"base URL without a host", "upstream:\n  base_url: https:///a\n", []string{"2:13: upstream.base_url: has no host, expected such as https://api.anthropic.com"}},
		{"base URL with a password", "upstream:\n  base_url: https://u:hunter2@h\n", []string{"2:13: upstream.base_url: has a user or a password in it, expected none: a key stands in ANTHROPIC_API_KEY or upstream.api_key_file"}},
		{"a key for its file", "upstream:\n  api_key_file: sk-ant-hunter2\n", []string{"2:17: upstream.api_key_file: holds a key, expected the path of a file that holds it"}},
		{"webhook path", "sessions:\n  webhook: {path: hook}\n", []string{`2:19: sessions.webhook.path: is "hook", expected the path of a URL such as /webhook`}},
		{"empty tools.dir", "tools: {dir: \"\"}\n", []string{"1:14: tools.dir: is empty, expected the path of a directory"}},
		{"all of them, in order", "tools:\n  concurrency: 0\n  color: red\nlog:\n  level: loud\nshutdown:\n  grace: 5\n", []string{
			"2:16: tools.concurrency: is 0, expected at least 1",
			"3:3: tools.color: unknown key, expected one of dir, unknown, concurrency, discover",
			`5:10: log.level: is "loud", expected debug, info, warn or error`,
			"7:10: shutdown.grace: 5 has no unit, expected a duration such as 90s, 5m or 250ms: write 5s for seconds"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.text)
			cfg, err := Load(path)
			if cfg != nil {
				t.Errorf("a broken file gives a configuration: %+v", cfg)
			}
			var list *Error
			if !errors.As(err, &list) {
				t.Fatalf("got %v, want an *Error", err)
			}
			want := path + ":" + strings.Join(tt.want, "\n"+path+":")
			if err.Error() != want {
				t.Errorf("got\n%v\nwant\n%v", err, want)
			}
		})
	}
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
	var list *Error
	if !errors.As(err, &list) {
		t.Fatalf("got %v, want an *Error", err)
	}
	if n := len(list.Problems); n > 30 {
		t.Errorf("%d problems, want no more than the file has places", n)
	}
}

func TestUnreadableFiles(t *testing.T) {
	dir := t.TempDir()
	huge := write(t, "# "+strings.Repeat("x", maxSize))
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
		var list *Error
		if !errors.As(err, &list) || len(list.Problems) == 0 {
			t.Fatalf("got %v, want an *Error with a problem", err)
		}
		for _, p := range list.Problems {
			if p.Line < 1 || p.Column < 1 || p.Text == "" {
				t.Errorf("a problem without a place or a text: %+v", p)
			}
		}
	})
}

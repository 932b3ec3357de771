package config

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
)

// env is an environment of its own.
func env(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

func TestFind(t *testing.T) {
	if _, err := os.Stat(places[1]); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("this machine has a %s of its own, which the test can't do with", places[1])
	}
	t.Chdir(t.TempDir())
	none := env(nil)
	if got, err := Find("", none); got != "" || err != nil {
		t.Errorf("nothing there: got %q, %v, want the defaults", got, err)
	}
	for _, name := range []string{"worker.yaml", "flag.yaml", "env.yaml"} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	both := env(map[string]string{EnvFile: "env.yaml"})
	for _, tt := range []struct {
		given string
		env   func(string) (string, bool)
		want  string
	}{{"", none, "worker.yaml"}, {"flag.yaml", none, "flag.yaml"}, {"", both, "env.yaml"}, {"flag.yaml", both, "flag.yaml"}} {
		if got, err := Find(tt.given, tt.env); got != tt.want || err != nil {
			t.Errorf("given %q: got %q, %v, want %q", tt.given, got, err, tt.want)
		}
	}
	// worker.yaml is there, and must not stand in for what was named.
	if _, err := Find("gone.yaml", none); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "gone.yaml") {
		t.Errorf("a missing file gives %v", err)
	}
	if _, err := Find("", env(map[string]string{EnvFile: "gone.yaml"})); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file of the environment gives %v", err)
	}
}

func TestEnviron(t *testing.T) {
	c := Default()
	if err := c.Environ(env(map[string]string{"ANTHROPIC_BASE_URL": ""})); err != nil || c.Upstream.BaseURL != DefaultBaseURL {
		t.Errorf("an empty variable gives %q, %v", c.Upstream.BaseURL, err)
	}
	c.Upstream.BaseURL = "http://file"
	if err := c.Environ(env(map[string]string{"ANTHROPIC_BASE_URL": "http://127.0.0.1:1"})); err != nil || c.Upstream.BaseURL != "http://127.0.0.1:1" {
		t.Errorf("the environment gives %q, %v", c.Upstream.BaseURL, err)
	}
	err := c.Environ(env(map[string]string{"ANTHROPIC_BASE_URL": "http://u:hunter2@h"}))
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "ANTHROPIC_BASE_URL") {
		t.Errorf("a password gives %v", err)
	}
}

func TestInert(t *testing.T) {
	c := Default()
	if got := Inert(&c); got != nil {
		t.Errorf("the defaults have %q", got)
	}
	loaded, err := Load(write(t, documented))
	if err != nil {
		t.Fatal(err)
	}
	if got := Inert(loaded); got != nil {
		t.Errorf("the defaults written down have %q", got)
	}
	loaded, err = Load(write(t, "sessions: {discover: {agent_ids: [a]}, webhook: {listen: ':1'}}\ntools: {discover: true}\n"+
		"nats: {url: 'nats://h', token_file: a, store_dir: b, credentials_file: c, replicas: 2}\njournal: {sync: interval}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"sessions.discover.agent_ids", "sessions.webhook"}
	if got := Inert(loaded); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDurationString(t *testing.T) {
	for d, want := range map[Duration]string{
		Seconds(90): "1m30s", Seconds(300): "5m", Seconds(7200): "2h", Seconds(0.25): "250ms", 0: "0s", Seconds(-60): "-1m", Seconds(3605): "1h0m5s",
	} {
		if got := d.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestEveryRuleIsOfAKey finds a rule whose key was renamed.
func TestEveryRuleIsOfAKey(t *testing.T) {
	for _, r := range rules {
		if form := formAt(t, r.key); form.Get("description") == nil {
			t.Errorf("%s is no key", r.key)
		}
	}
}

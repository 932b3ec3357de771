package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFormats(t *testing.T) {
	for _, tt := range []struct {
		format     string
		isTerminal bool
		noColor    string
		json       bool
		colour     bool
	}{
		{"auto", false, "", true, false},
		{"", false, "", true, false},
		{"auto", true, "", false, true},
		{"auto", true, "1", false, false},
		{"json", true, "", true, false},
		{"tint", false, "", false, false},
		{"tint", true, "", false, true},
		{"text", true, "1", false, false},
	} {
		t.Run(fmt.Sprintf("%s %v %s", tt.format, tt.isTerminal, tt.noColor), func(t *testing.T) {
			t.Setenv("NO_COLOR", tt.noColor)
			var b bytes.Buffer
			log, err := NewLogger(&b, "info", tt.format, tt.isTerminal)
			if err != nil {
				t.Fatal(err)
			}
			log.Debug("hidden")
			log.Error("shown", "session", "sesn_1")
			line := b.String()
			if strings.Contains(line, "hidden") || strings.Count(line, "\n") != 1 || !strings.Contains(line, "shown") || !strings.Contains(line, "sesn_1") {
				t.Errorf("got %q", line)
			}
			if got := json.Valid([]byte(line)); got != tt.json {
				t.Errorf("JSON is %v: %q", got, line)
			}
			if got := strings.Contains(line, "\x1b["); got != tt.colour {
				t.Errorf("colour is %v: %q", got, line)
			}
		})
	}
}

func TestJSONLine(t *testing.T) {
	var b bytes.Buffer
	log, err := NewLogger(&b, "", "json", false)
	if err != nil {
		t.Fatal(err)
	}
	log.With("session", "sesn_1").Warn("it waits", "for", 3)
	var line struct {
		Time, Level, Msg, Session string
		For                       int
	}
	if err := json.Unmarshal(b.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if _, err := time.Parse(time.RFC3339Nano, line.Time); err != nil {
		t.Error(err)
	}
	if line.Level != "WARN" || line.Msg != "it waits" || line.Session != "sesn_1" || line.For != 3 {
		t.Errorf("got %+v", line)
	}
}

func TestLevels(t *testing.T) {
	for level, want := range map[string]int{"debug": 4, "info": 3, "": 3, "warn": 2, "error": 1} {
		var b bytes.Buffer
		log, err := NewLogger(&b, level, "json", false)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("x")
		log.Info("x")
		log.Warn("x")
		log.Error("x")
		if got := strings.Count(b.String(), "\n"); got != want {
			t.Errorf("%q has %d lines, want %d", level, got, want)
		}
	}
	if _, err := NewLogger(io.Discard, "INFO", "json", false); err == nil || !strings.Contains(err.Error(), "expected debug, info, warn or error") {
		t.Errorf("level INFO gives %v", err)
	}
	if _, err := NewLogger(io.Discard, "info", "xml", false); err == nil || !strings.Contains(err.Error(), "expected auto, tint, text or json") {
		t.Errorf("format xml gives %v", err)
	}
}

func TestIsTerminal(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if IsTerminal(f) {
		t.Error("/dev/null counts as a terminal")
	}
}

// TestRedact is invariant 7 for whatever else forgets it.
func TestRedact(t *testing.T) {
	const secret, odd = "sk-ant-hunter2", `pass"word\ö <&>`
	type inner struct{ Key string }
	var secrets Secrets
	secrets.Add(secret, odd, "short", "")
	for _, format := range []string{"json", "tint"} {
		var b bytes.Buffer
		log, err := NewLogger(Redact(&b, &secrets), "debug", format, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{secret, odd} {
			log.With("bound", s).WithGroup("g").Info("message "+s, "string", s, "error", fmt.Errorf("x: %w", errors.New(s)),
				"any", inner{s}, "slice", []string{s}, "map", map[string]string{s: s}, slog.Group("h", "in", s), s, "key",
				"bytes", json.RawMessage(`"x"`), "url", "https://h/?k="+url.QueryEscape(s), "path", "/"+url.PathEscape(s), "kept", "short")
		}
		out := b.String()
		for _, leak := range []string{"hunter2", "word", "pass"} {
			if strings.Contains(out, leak) {
				t.Errorf("%s shows %q:\n%s", format, leak, out)
			}
		}
		if !strings.Contains(out, Redacted) || !strings.Contains(out, "short") {
			t.Errorf("%s takes the wrong things out:\n%s", format, out)
		}
		for line := range strings.Lines(out) {
			if format == "json" && !json.Valid([]byte(line)) {
				t.Errorf("is not JSON any more: %s", line)
			}
		}
	}
}

func TestRedactTakesLaterSecrets(t *testing.T) {
	var b bytes.Buffer
	var secrets Secrets
	w := Redact(&b, &secrets)
	if n, err := w.Write([]byte("first-key\n")); n != 10 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	secrets.Add("first-key")
	secrets.Add("first-key-longer")
	if n, err := w.Write([]byte("first-key first-key-longer\n")); n != 27 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if want := "first-key\n[redacted] [redacted]\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestRedactIsSafeForManyGoroutines(t *testing.T) {
	var secrets Secrets
	w := Redact(io.Discard, &secrets)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			secrets.Add(fmt.Sprintf("secret-%d", i))
			w.Write([]byte("secret-1\n"))
		})
	}
	wg.Wait()
	for i := range 8 {
		if got := string(secrets.replace(fmt.Appendf(nil, "secret-%d", i))); got != Redacted {
			t.Errorf("got %q", got)
		}
	}
}

func TestRedactCostsNothingWithoutASecret(t *testing.T) {
	var secrets Secrets
	secrets.Add("sk-ant-hunter2")
	w, line := Redact(io.Discard, &secrets), []byte(`{"msg":"call answered"}`+"\n")
	if n := testing.AllocsPerRun(100, func() { w.Write(line) }); n != 0 {
		t.Errorf("%v allocations a line, want none", n)
	}
}

package bus_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"toolhand/internal/bus"
	"toolhand/internal/testkit"
)

// port of a URL such as nats://127.0.0.1:4222.
func port(url string) string { return url[strings.LastIndex(url, ":")+1:] }

// TestExternalIsKilledAndRestarted: the connection comes back by itself, and
// what was acknowledged is there.
func TestExternalIsKilledAndRestarted(t *testing.T) {
	dir := t.TempDir()
	url, kill := play(t, "server -1 "+dir+" token")
	var log lines
	b := open(t, bus.Options{URL: url, Token: "token", Log: log.logger()})
	if b.Embedded() || b.MaxPayload() != 1<<20 || b.Healthy() != nil {
		t.Fatalf("status %+v", b.Status())
	}
	put(t, b, "k", "v")
	for round := range 2 {
		kill()
		testkit.Eventually(t, "away", func() bool { return !b.Status().AwaySince.IsZero() })
		if s := b.Status(); s.Connected || s.Problem == "" || b.Healthy() == nil {
			t.Errorf("status %+v", s)
		}
		if err := b.Conn().Publish("x", nil); err == nil {
			t.Error("a publish is buffered while the server is away")
		}
		_, kill = play(t, "server "+port(url)+" "+dir+" token")
		testkit.Eventually(t, "back", func() bool { return b.Healthy() == nil && b.Status().AwaySince.IsZero() })
		if get(t, b, "k") != "v" {
			t.Error("lost")
		}
		if s := b.Status(); s.Reconnects != uint64(round+1) || !s.AwaySince.IsZero() {
			t.Errorf("status %+v", s)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 4 || strings.Count(log.String(), "NATS is away") != 2 || strings.Count(log.String(), "NATS is back") != 2 {
		t.Errorf("%d lines, want two of each kind:\n%s", n, log.String())
	}
}

// TestExternalThatStartsLater: at boot both start at once.
func TestExternalThatStartsLater(t *testing.T) {
	url, kill := play(t, "server -1 "+t.TempDir())
	kill()
	opened := make(chan *bus.Bus, 1)
	go func() {
		b, err := bus.Open(t.Context(), bus.Options{URL: url})
		if err != nil {
			t.Error(err)
		}
		opened <- b
	}()
	play(t, "server "+port(url)+" "+t.TempDir())
	if b := <-opened; b != nil {
		shut(t, b)
	}
}

func TestExternalStartErrors(t *testing.T) {
	t.Parallel()
	withToken, _ := play(t, "server -1 "+t.TempDir()+" token")
	without, _ := play(t, "server -1 none")
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	const bound = 500 * time.Millisecond
	for _, c := range []struct {
		name    string
		opts    bus.Options
		want    string
		atOnce  bool
		mustNot string
	}{
		{"nobody there", bus.Options{URL: "nats://user:pa55@" + closed.Addr().String()}, "not ready within 500ms", false, "pa55"},
		{"silent", bus.Options{URL: "nats://" + silent.Addr().String()}, "not ready within 500ms", false, ""},
		{"no token", bus.Options{URL: withToken}, "Authorization Violation", true, ""},
		{"another token", bus.Options{URL: withToken, Token: "secret1"}, "Authorization Violation", true, "secret1"},
		{"no JetStream", bus.Options{URL: without}, "no JetStream for this account", true, ""},
		{"no credentials file", bus.Options{URL: without, CredentialsFile: "/nonexistent/file"}, "no such file", true, ""},
		{"no URL", bus.Options{URL: "nats://u:pa55@a b:%"}, "no URL", true, "pa55"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.opts.StartTimeout = bound
			if c.atOnce {
				c.opts.StartTimeout = time.Minute
			}
			begin := time.Now()
			b, err := bus.Open(t.Context(), c.opts)
			if err == nil {
				shut(t, b)
				t.Fatal("opened")
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
			if !strings.Contains(err.Error(), c.want) || c.mustNot != "" && strings.Contains(err.Error(), c.mustNot) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestOldServerIsRefused: Debian's nats-server 2.9 ignores TTLs without a word.
// The version can't be had as a module beside ours, so the lines that it says
// are said here.
func TestOldServerIsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		old(c)
	}()
	_, err = bus.Open(t.Context(), bus.Options{URL: "nats://" + l.Addr().String()})
	if !errors.Is(err, bus.ErrTooOld) || !strings.Contains(err.Error(), "2.9.10") || !strings.Contains(err.Error(), "2.11") {
		t.Errorf("got %v", err)
	}
	<-done
}

// old speaks as nats-server 2.9.10 does, as far as Open asks.
func old(c net.Conn) {
	fmt.Fprintf(c, `INFO {"server_id":"X","server_name":"debian","version":"2.9.10","proto":1,"headers":true,"max_payload":1048576}`+"\r\n")
	in := bufio.NewReader(c)
	sid := ""
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		words := strings.Fields(line)
		switch {
		case words[0] == "PING":
			fmt.Fprintf(c, "PONG\r\n")
		case words[0] == "SUB":
			sid = words[len(words)-1]
		case words[0] == "PUB" && words[1] == "$JS.API.INFO":
			if _, err := in.ReadString('\n'); err != nil {
				return
			}
			answer := `{"type":"io.nats.jetstream.api.v1.account_info_response","memory":0,"storage":0,"streams":0,"consumers":0,"limits":{},"api":{"total":1,"errors":0}}`
			fmt.Fprintf(c, "MSG %s %s %d\r\n%s\r\n", words[2], sid, len(answer), answer)
		}
	}
}

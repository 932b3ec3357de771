package bus_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/nats-io/nats.go"

	"toolhand/internal/bus"
)

// TestForward: what gets to the server has one meaning, and names no reply subject but
// the client's own inboxes.
func TestForward(t *testing.T) {
	const connect = "CONNECT {\"user\":\"alice\"}\r\n"
	for _, c := range []struct{ name, in, want string }{
		{"no reply", "PUB a 2\r\nhi\r\n", "PUB a 2\r\nhi\r\n"},
		{"own inbox", "PUB a _INBOX_alice.x 2\r\nhi\r\n", "PUB a _INBOX_alice.x 2\r\nhi\r\n"},
		{"default inbox", "PUB a _INBOX.x 0\r\n\r\n", "PUB a _INBOX.x 0\r\n\r\n"},
		{"another inbox", "PUB a _INBOX_bob.x 0\r\n\r\n", "PUB a _R_._INBOX_bob.x 0\r\n\r\n"},
		{"an inbox that begins alike", "PUB a _INBOX_alice2.x 0\r\n\r\n", "PUB a _R_._INBOX_alice2.x 0\r\n\r\n"},
		{"the inbox alone", "PUB a _INBOX_alice 0\r\n\r\n", "PUB a _R_._INBOX_alice 0\r\n\r\n"},
		{"all", "PUB a > 0\r\n\r\n", "PUB a _R_.> 0\r\n\r\n"},
		{"headers", "HPUB a x 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", "HPUB a _R_.x 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"},
		{"headers, no reply", "HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", "HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"},
		{"spelled otherwise", "pub\ta \t x\t 002\nhi\r\n", "PUB a _R_.x 2\r\nhi\r\n"},
		{"an operation in a payload", "PUB a 15\r\nPUB b x 0\r\n\r\nOK\r\nhpUb a x 0 0\r\n\r\n", "PUB a 15\r\nPUB b x 0\r\n\r\nOK\r\nHPUB a _R_.x 0 0\r\n\r\n"},
		{"others", "SUB a 1\r\nUNSUB 1\nping\r\nPONG\r\n", "SUB a 1\r\nUNSUB 1\r\nping\r\nPONG\r\n"},
	} {
		for how, in := range map[string]io.Reader{"whole": strings.NewReader(connect + c.in), "byte by byte": iotest.OneByteReader(strings.NewReader(connect + c.in))} {
			var out bytes.Buffer
			if err := bus.Forward(&out, in); !errors.Is(err, io.EOF) {
				t.Errorf("%s, %s: %v", c.name, how, err)
			}
			if got := out.String(); got != connect+c.want {
				t.Errorf("%s, %s:\n%q, want\n%q", c.name, how, got, connect+c.want)
			}
		}
	}
}

// TestForwardEnds: what could have another meaning for the server gets no further, nor
// what comes after it.
func TestForwardEnds(t *testing.T) {
	const connect = "CONNECT {\"user\":\"alice\"}\r\n"
	for _, in := range []string{
		"MSG a 1 0\r\n", "HMSG a 1 0 0\r\n", "RS+ a b\r\n", "INFO {}\r\n", "+OK\r\n", "-ERR\r\n", "\r\n", " PUB a x 0\r\n", "PUBa x 0\r\n", "CONNECT{}\r\n",
		"PUB a\r\n", "PUB a x y 0\r\n", "PUB a x -1\r\n", "PUB a x +1\r\n", "PUB a x 1_0\r\n", "PUB a x 99999999999999999999\r\n", "PUB a x 0\r \n", "PUB\ra x 0\r\n", "SUB a\r1\r\n",
		"HPUB a 0\r\n", "HPUB a x y 0 0\r\n", "HPUB a x x 0\r\n",
		"CONNECT {\"user\":\"bob\"}\r\n", "PUB a " + strings.Repeat("x", 20<<10) + " 0\r\n",
	} {
		var out bytes.Buffer
		if err := bus.Forward(&out, strings.NewReader(connect+in+"\r\nPUB a x 0\r\n\r\n")); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%.80q: %v", in, err)
		}
		if got := out.String(); got != connect {
			t.Errorf("%.80q gets to the server as %q", in, got)
		}
	}
	var out bytes.Buffer
	if err := bus.Forward(&out, strings.NewReader("PUB a 1\r\nhiPUB b x 0\r\n\r\n")); err == nil || errors.Is(err, io.EOF) || out.String() != "PUB a 1\r\nh" {
		t.Errorf("a payload that is too long gets to the server as %q, %v", out.String(), err)
	}
	out.Reset()
	if err := bus.Forward(&out, strings.NewReader("PUB a _INBOX_.x 0\r\n\r\n")); !errors.Is(err, io.EOF) || out.String() != "PUB a _R_._INBOX_.x 0\r\n\r\n" {
		t.Errorf("before CONNECT: %q, %v", out.String(), err)
	}
}

// FuzzForward: however a client cuts and spells it, each message that gets to the server
// names its own inbox, or nothing that the server takes.
func FuzzForward(f *testing.F) {
	f.Add([]byte("CONNECT {\"user\":\"alice\"}\r\nPUB a x 2\r\nhi\r\nHPUB a _INBOX_alice.x 12 12\r\nNATS/1.0\r\n\r\n\r\nSUB a 1\r\n"))
	f.Add([]byte("pub a\t_INBOX.x 0\n\r\nPUB a 15\r\nPUB b x 0\r\n\r\nOK\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var whole, cut bytes.Buffer
		_ = bus.Forward(&whole, bytes.NewReader(in))
		_ = bus.Forward(&cut, iotest.OneByteReader(bytes.NewReader(in)))
		if !bytes.Equal(whole.Bytes(), cut.Bytes()) {
			t.Fatalf("%q and, byte by byte, %q", whole.Bytes(), cut.Bytes())
		}
		for r := bufio.NewReader(&whole); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			args := strings.Split(strings.TrimSuffix(line, "\r\n"), " ")
			var reply string
			var size int
			switch n := len(args); {
			case args[0] == "PUB" && n == 4, args[0] == "HPUB" && n == 5:
				reply = args[2]
				fallthrough
			case args[0] == "PUB" && n == 3, args[0] == "HPUB" && n == 4:
				if _, err := fmt.Sscan(args[n-1], &size); err != nil {
					t.Fatalf("%q", line)
				}
			case strings.EqualFold(args[0], "PUB"), strings.EqualFold(args[0], "HPUB"):
				t.Fatalf("%q", line)
			}
			if reply != "" && !strings.HasPrefix(reply, "_R_.") && !strings.HasPrefix(reply, "_INBOX") {
				t.Fatalf("%q", line)
			}
			if _, err := r.Discard(size); err != nil {
				return
			}
			if size > 0 || args[0] == "PUB" || args[0] == "HPUB" {
				_, _ = r.Discard(2)
			}
		}
	})
}

// TestListenWithTLS: the token is shown over TLS only, and large messages pass.
func TestListenWithTLS(t *testing.T) {
	cert, roots := selfSigned(t)
	b := open(t, bus.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", ListenToken: "secret", ListenTLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	trusted := nats.Secure(&tls.Config{RootCAs: roots})
	alice := user(t, b, "alice", nil, trusted)
	if _, err := alice.Subscribe("toolhand.tool.echo", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := alice.Flush(); err != nil {
		t.Fatal(err)
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	for _, nc := range []*nats.Conn{b.Conn(), user(t, b, "bob", nil, trusted)} {
		if m, err := nc.Request("toolhand.tool.echo", large, wait); err != nil || !bytes.Equal(m.Data, large) {
			t.Errorf("an echo of %d bytes fails: %v", len(large), err)
		}
	}
	conn, err := net.Dial("tcp", b.Listening())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("CONNECT {\"auth_token\":\"secret\"}\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	if said, _ := io.ReadAll(conn); !strings.Contains(string(said), `"tls_required":true`) || strings.Contains(string(said), "PONG") {
		t.Errorf("without TLS a client is told %q", said)
	}
}

// TestListenCloses: the end waits for no client, not for one that says nothing either.
func TestListenCloses(t *testing.T) {
	cert, _ := selfSigned(t)
	for _, secured := range []*tls.Config{nil, {Certificates: []tls.Certificate{cert}}} {
		b := open(t, bus.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", ListenTLS: secured})
		for range 3 {
			conn, err := net.Dial("tcp", b.Listening())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		shut(t, b)
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the end takes %s", took)
		}
	}
}

package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"toolhand/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves on loopback until the test ends.
func start(t *testing.T, token string, log *slog.Logger, register func(*Server)) *Server {
	t.Helper()
	s, err := Listen("127.0.0.1:0", token, log)
	if err != nil {
		t.Fatal(err)
	}
	if register != nil {
		register(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

// ask sends one request on a connection of its own.
func ask(t *testing.T, s *Server, method, path string, header ...string) (int, map[string]any, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+s.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s %s has the type %q", method, path, got)
	}
	var decoded map[string]any
	if method != http.MethodHead {
		if err := json.Unmarshal(body, &decoded); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, body)
		}
	} else if len(body) > 0 {
		t.Errorf("HEAD %s has a body", path)
	}
	return resp.StatusCode, decoded, resp.Header
}

func TestPaths(t *testing.T) {
	s := start(t, "", nil, func(s *Server) {
		s.Section("version", func() any { return "v1" })
		s.Section("calls", func() any { return []int{1, 2} })
	})
	for _, tt := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/healthz", 200, "map[alive:true reasons:[]]"},
		{"HEAD", "/healthz", 200, "map[]"},
		{"GET", "/readyz", 200, "map[ready:true reasons:[]]"},
		{"GET", "/api/v1/status", 200, "map[calls:[1 2] version:v1]"},
		{"GET", "/api/v1/status?x=y", 200, "map[calls:[1 2] version:v1]"},
		{"POST", "/api/v1/status", 405, "map[error:expected GET or HEAD]"},
		{"DELETE", "/healthz", 405, "map[error:expected GET or HEAD]"},
		{"GET", "/", 404, "map[error:no such path, expected /api/v1/calls, /api/v1/status, /healthz, /readyz]"},
		{"GET", "/healthz/", 404, "map[error:no such path, expected /api/v1/calls, /api/v1/status, /healthz, /readyz]"},
		{"GET", "//healthz", 404, "map[error:no such path, expected /api/v1/calls, /api/v1/status, /healthz, /readyz]"},
	} {
		status, body, header := ask(t, s, tt.method, tt.path)
		if status != tt.status || fmt.Sprint(body) != tt.body {
			t.Errorf("%s %s: %d %v, want %d %s", tt.method, tt.path, status, body, tt.status, tt.body)
		}
		if (status == 405) != (header.Get("Allow") == "GET, HEAD") {
			t.Errorf("%s %s: Allow is %q", tt.method, tt.path, header.Get("Allow"))
		}
	}
}

func TestReadyFollowsItsReasons(t *testing.T) {
	var mu sync.Mutex
	reasons := []Reason{{Check: "tools", Text: "not loaded yet", Since: time.Unix(0, 0).UTC()}, {Check: "journal", Text: "can't be written"}}
	s := start(t, "", nil, func(s *Server) {
		s.Ready(func() []Reason { mu.Lock(); defer mu.Unlock(); return reasons })
	})
	status, body, _ := ask(t, s, "GET", "/readyz")
	got := regexp.MustCompile(`since:2[0-9-]+T[0-9:]+Z`).ReplaceAllString(fmt.Sprint(body), "since:NOW")
	want := "map[ready:false reasons:[map[check:tools reason:not loaded yet since:1970-01-01T00:00:00Z] map[check:journal reason:can't be written since:NOW]]]"
	if status != 503 || got != want {
		t.Errorf("got %d %s, want %s", status, got, want)
	}
	first := fmt.Sprint(body)
	time.Sleep(1100 * time.Millisecond) // a second is what is told
	if _, body, _ := ask(t, s, "GET", "/readyz"); fmt.Sprint(body) != first {
		t.Errorf("since when has changed: %v, was %s", body, first)
	}
	mu.Lock()
	reasons = nil
	mu.Unlock()
	if status, body, _ := ask(t, s, "GET", "/readyz"); status != 200 || fmt.Sprint(body) != "map[ready:true reasons:[]]" {
		t.Errorf("got %d %v", status, body)
	}
}

func TestToken(t *testing.T) {
	s := start(t, "right-token", nil, nil)
	for _, path := range []string{"/readyz", "/api/v1/status", "/", "/healthz"} {
		for shown, right := range map[string]bool{
			"": false, "Bearer wrong-token": false, "Bearer": false, "Bearer right-token2": false, "Basic right-token": false,
			"right-token": false, "Bearer right-token": true, "bearer right-token": true,
		} {
			status, body, header := ask(t, s, "GET", path, "Authorization", shown)
			refused := status == 401
			if want := !right && path != "/healthz" && path != "/readyz"; refused != want {
				t.Errorf("%s with %q: %d, refused should be %v", path, shown, status, want)
			}
			if refused != (header.Get("WWW-Authenticate") == "Bearer") || strings.Contains(fmt.Sprint(body), "right-token") {
				t.Errorf("%s with %q: %v %v", path, shown, header, body)
			}
		}
	}
}

// TestStrangersAreToldTheChecks: probes of containers have no token, and what is wrong
// may name a session or a server.
func TestStrangersAreToldTheChecks(t *testing.T) {
	s := start(t, "right-token", nil, func(s *Server) {
		s.Ready(func() []Reason { return []Reason{{Check: "journal", Text: "secret"}} })
		s.Alive(func() []Reason { return []Reason{{Check: "sessions", Text: "secret"}} })
	})
	for path, want := range map[string]string{
		"/readyz": "map[ready:false reasons:[map[check:journal]]]", "/healthz": "map[alive:false reasons:[map[check:sessions]]]",
	} {
		if status, body, _ := ask(t, s, "GET", path); status != 503 || fmt.Sprint(body) != want {
			t.Errorf("%s: %d %v, want %s", path, status, body, want)
		}
		if _, body, _ := ask(t, s, "GET", path, "Authorization", "Bearer right-token"); !strings.Contains(fmt.Sprint(body), "reason:secret") {
			t.Errorf("%s with the token: %v", path, body)
		}
	}
}

func TestActions(t *testing.T) {
	ran := 0
	s := start(t, "right-token", nil, func(s *Server) {
		s.Action("POST", "/api/v1/act", func(context.Context, Request) (int, any) { ran++; return 202, map[string]string{"did": "it"} })
		s.Action("POST", "/api/v1/things", func(_ context.Context, r Request) (int, any) { return 201, map[string]string{"got": string(r.Body)} })
		s.Action("DELETE", "/api/v1/things/", func(_ context.Context, r Request) (int, any) { return 202, map[string]string{"gone": r.Name} })
	})
	for _, c := range []struct {
		method, kind, token string
		status              int
	}{
		{"POST", "application/json", "right-token", 202}, {"POST", "Application/JSON; charset=utf-8", "right-token", 202},
		{"POST", "application/json", "wrong", 401}, {"POST", "text/plain", "right-token", 415}, {"POST", "", "right-token", 415},
		{"POST", "application/x-www-form-urlencoded", "right-token", 415}, {"GET", "application/json", "right-token", 405}, {"DELETE", "application/json", "right-token", 405},
	} {
		status, body, _ := ask(t, s, c.method, "/api/v1/act", "Content-Type", c.kind, "Authorization", "Bearer "+c.token)
		if status != c.status {
			t.Errorf("%+v: %d %v", c, status, body)
		}
	}
	if ran != 2 {
		t.Errorf("it was done %d times, want 2", ran)
	}
	for _, c := range []struct {
		method, path, header string
		status               int
		body                 string
	}{
		{"DELETE", "/api/v1/things/a-b", "X-Toolhand", 202, "map[gone:a-b]"}, {"DELETE", "/api/v1/things/a-b", "X-Other", 415, "map[error:expected the header X-Toolhand: 1]"},
		{"DELETE", "/api/v1/things/", "X-Toolhand", 404, ""}, {"DELETE", "/api/v1/things/a/b", "X-Toolhand", 404, ""}, {"DELETE", "/api/v1/things", "X-Toolhand", 405, "map[error:expected POST]"},
	} {
		status, body, _ := ask(t, s, c.method, c.path, c.header, "1", "Authorization", "Bearer right-token")
		if status != c.status || c.body != "" && fmt.Sprint(body) != c.body {
			t.Errorf("%+v: %d %v", c, status, body)
		}
	}
}

func TestHostOfThisMachine(t *testing.T) {
	s := start(t, "", nil, nil)
	_, port, _ := net.SplitHostPort(s.Addr().String())
	for host, want := range map[string]int{
		"localhost": 200, "LocalHost:" + port: 200, "127.0.0.1": 200, "127.0.0.9:1": 200, "[::1]": 200, "[::1]:80": 200,
		"evil.example": 403, "evil.example:" + port: 403, "localhost.evil.example": 403, "10.0.0.1": 403, "127.0.0.1.evil.example": 403,
	} {
		if status, _, _ := ask(t, s, "GET", "/healthz", "Host", host); status != want {
			t.Errorf("Host %s: %d, want %d", host, status, want)
		}
	}
}

func TestEveryInterfaceNeedsAToken(t *testing.T) {
	if s, err := Listen("0.0.0.0:0", "", nil); err == nil || !strings.Contains(err.Error(), "admin.token_file is required") {
		t.Errorf("got %v, %v", s, err)
	}
	s, err := Listen("0.0.0.0:0", "token", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestPortTaken(t *testing.T) {
	s := start(t, "", nil, nil)
	addr := s.Addr().String()
	_, err := Listen(addr, "", nil)
	if err == nil || !strings.Contains(err.Error(), "admin address "+addr+" can't be taken") {
		t.Errorf("got %v", err)
	}
}

func TestAPartThatPanics(t *testing.T) {
	var logged bytes.Buffer
	s := start(t, "", slog.New(slog.NewTextHandler(&logged, nil)), func(s *Server) {
		s.Ready(func() []Reason { panic("ready") })
		s.Section("bad", func() any { panic("status") })
		s.Section("odd", func() any { return make(chan int) })
		s.Section("good", func() any { return 1 })
	})
	status, body, _ := ask(t, s, "GET", "/readyz")
	if want := "map[ready:false reasons:[map[check:worker reason:panicked: ready]]]"; status != 503 || fmt.Sprint(body) != want {
		t.Errorf("got %d %v, want %s", status, body, want)
	}
	for range 2 { // it is asked again each time
		status, body, _ = ask(t, s, "GET", "/api/v1/status")
		if want := "map[bad:map[error:panicked: status] good:1 odd:map[error:json: unsupported type: chan int]]"; status != 200 || fmt.Sprint(body) != want {
			t.Errorf("got %d %v, want %s", status, body, want)
		}
	}
	if !strings.Contains(logged.String(), "admin_test.go") {
		t.Errorf("no stack in the log: %s", logged.String())
	}
}

// TestAPartThatHangs is invariant 5 here: a wedged worker says that it is, in
// bounded time, and questions do not pile up.
func TestAPartThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		asked := 0
		p := newPart(func() int { asked++; <-release; return asked })
		begin := time.Now()
		if _, err := p.ask(t.Context()); err == nil || err.Error() != "has not answered within 1s" {
			t.Errorf("got %v", err)
		}
		if _, err := p.ask(t.Context()); !errors.Is(err, errBusy) {
			t.Errorf("got %v, want %v", err, errBusy)
		}
		if took := time.Since(begin); took != 2*askTimeout {
			t.Errorf("took %v", took)
		}
		close(release)
		if got, err := p.ask(t.Context()); got != 2 || err != nil {
			t.Errorf("got %d, %v", got, err)
		}
	})
}

// TestSlowClientsHoldNothing: one that never asks in full is cut off, and holds
// up neither others nor the stop.
func TestSlowClientsHoldNothing(t *testing.T) {
	s := start(t, "", nil, nil)
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	begin := time.Now()
	io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: ")
	if status, _, _ := ask(t, s, "GET", "/healthz"); status != 200 {
		t.Errorf("another client gets %d", status)
	}
	if !testkit.Full() {
		return // it has some seconds to ask
	}
	conn.SetReadDeadline(begin.Add(4 * readTimeout))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("still open after %v: %v", time.Since(begin), err)
	}
}

func TestStopDoesNotWaitForSlowClients(t *testing.T) {
	s, err := Listen("127.0.0.1:0", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("got %q, %v", line, err)
	}
	slow, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	io.WriteString(slow, "GET /healthz HTTP/1.1\r\nHost: ")
	time.Sleep(50 * time.Millisecond) // until it is accepted; else the test shows less
	cancel()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("still not stopped after 10s")
	}
	if _, err := net.Dial("tcp", s.Addr().String()); err == nil {
		t.Error("the address still answers")
	}
	if err := slow.SetReadDeadline(time.Now().Add(readTimeout / 2)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := io.Copy(io.Discard, slow); errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the connection of the slow client is still open")
	}
}

func TestLostListener(t *testing.T) {
	s, err := Listen("127.0.0.1:0", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := s.Serve(t.Context()); err == nil || !strings.Contains(err.Error(), s.Addr().String()) {
		t.Errorf("got %v", err)
	}
}

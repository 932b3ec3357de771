package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// routes are the paths that there are.
func (s *Server) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"/healthz":       s.serveHealth,
		"/readyz":        s.serveReady,
		"/api/v1/status": s.serveStatus,
		"/api/v1/calls":  s.serveCalls,
	}
}

// handler lets through who may ask, then what may be asked.
func (s *Server) handler() http.Handler {
	routes := s.routes()
	guardHost := loopback(s.Addr())
	want := sha256.Sum256([]byte(s.token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if guardHost && !localHost(r.Host) {
			fail(w, http.StatusForbidden, "the Host header is not of this machine, expected localhost or a loopback address")
			return
		}
		if s.token != "" && r.URL.Path != "/healthz" {
			scheme, shown, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			// Hashes have one length, so that the time tells none.
			got := sha256.Sum256([]byte(shown))
			if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
				h.Set("WWW-Authenticate", "Bearer")
				fail(w, http.StatusUnauthorized, "expected the token of admin.token_file as Authorization: Bearer TOKEN")
				return
			}
		}
		serve := routes[r.URL.Path]
		if serve == nil {
			fail(w, http.StatusNotFound, "no such path, expected "+strings.Join(slices.Sorted(maps.Keys(routes)), ", "))
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			fail(w, http.StatusMethodNotAllowed, "expected GET or HEAD")
			return
		}
		serve(w, r)
	})
}

// localHost reports whether a Host header names this machine. A page of the web
// whose name was pointed at 127.0.0.1 comes with its own name.
func localHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func (s *Server) serveHealth(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (s *Server) serveReady(w http.ResponseWriter, r *http.Request) {
	var reasons []Reason
	if s.ready != nil {
		var err error
		if reasons, err = s.ready.ask(r.Context()); err != nil {
			s.logPanic("readyz", err)
			reasons = []Reason{{Check: "worker", Text: err.Error()}}
		}
	}
	status := http.StatusOK
	if len(reasons) > 0 {
		status = http.StatusServiceUnavailable
	}
	reply(w, status, struct {
		Ready   bool     `json:"ready"`
		Reasons []Reason `json:"reasons,omitempty"`
	}{len(reasons) == 0, reasons})
}

// serveStatus shows every section; one that can't say anything says why, and
// the others stand.
func (s *Server) serveStatus(w http.ResponseWriter, r *http.Request) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	status := map[string]json.RawMessage{}
	for name, p := range s.sections {
		wg.Go(func() {
			shown := s.section(r.Context(), name, p)
			mu.Lock()
			defer mu.Unlock()
			status[name] = shown
		})
	}
	wg.Wait()
	reply(w, http.StatusOK, status)
}

func (s *Server) section(ctx context.Context, name string, p *part[any]) json.RawMessage {
	value, err := p.ask(ctx)
	if err == nil {
		var shown []byte
		if shown, err = json.Marshal(value); err == nil {
			return shown
		}
	}
	s.logPanic(name, err)
	shown, _ := json.Marshal(map[string]string{"error": err.Error()}) // a map of strings always marshals
	return shown
}

// logPanic logs err if it is a panic: the stack is for us, not for who asks.
func (s *Server) logPanic(name string, err error) {
	var p *panicError
	if errors.As(err, &p) {
		s.log.Error("a part panicked when asked what it does", "part", name, "panic", p.value, "stack", string(p.stack))
	}
}

// fail is an answer that says what was wrong with the question.
func fail(w http.ResponseWriter, status int, text string) {
	reply(w, status, map[string]string{"error": text})
}

// reply writes body as indented JSON, which people read with curl.
func reply(w http.ResponseWriter, status int, body any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(body); err != nil {
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString("{\"error\": \"the answer can't be written as JSON\"}\n")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(b.Bytes()) // an error means that the client has gone
}

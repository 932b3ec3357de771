package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// route is what is done with a path.
type route struct {
	open  bool // it needs no token
	serve map[string]http.HandlerFunc
}

// routes are the paths that there are.
func (s *Server) routes() map[string]route {
	get := func(open bool, f http.HandlerFunc) route {
		return route{open, map[string]http.HandlerFunc{http.MethodGet: f, http.MethodHead: f}}
	}
	all := map[string]route{
		"/healthz":       get(true, s.serveHealth),
		"/readyz":        get(true, s.serveReady),
		"/api/v1/status": get(false, s.serveStatus),
		"/api/v1/calls":  get(false, s.serveCalls),
	}
	for _, a := range s.actions {
		if all[a.path].serve == nil {
			all[a.path] = route{serve: map[string]http.HandlerFunc{}}
		}
		all[a.path].serve[a.method] = func(w http.ResponseWriter, r *http.Request) { a.serve(w, r) }
	}
	return all
}

// maxBody is the size of what an action is told, in bytes.
const maxBody = 64 << 10

// serve does it, if the request can't be one that a page of the web made a browser send.
func (a action) serve(w http.ResponseWriter, r *http.Request) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // one that can't be read is none
	if a.method == http.MethodPost && kind != "application/json" {
		fail(w, http.StatusUnsupportedMediaType, "expected Content-Type: application/json")
		return
	}
	if a.method == http.MethodDelete && r.Header.Get("X-Toolhand") != "1" {
		fail(w, http.StatusUnsupportedMediaType, "expected the header X-Toolhand: 1")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		fail(w, http.StatusBadRequest, fmt.Sprintf("expected a body of at most %d bytes", maxBody))
		return
	}
	name := ""
	if strings.HasSuffix(a.path, "/") {
		name = strings.TrimPrefix(r.URL.Path, a.path)
	}
	status, answer := a.do(r.Context(), Request{Name: name, Body: body})
	reply(w, status, answer)
}

// find gives the route of a path.
func find(routes map[string]route, path string) (route, bool) {
	if to, known := routes[path]; known {
		return to, !strings.HasSuffix(path, "/")
	}
	at := strings.LastIndexByte(path, '/')
	to, known := routes[path[:at+1]]
	return to, known
}

// handler lets through who may ask, then what may be asked.
func (s *Server) handler() http.Handler {
	routes := s.routes()
	guardHost := loopback(s.Addr())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if guardHost && !localHost(r.Host) {
			fail(w, http.StatusForbidden, "the Host header is not of this machine, expected localhost or a loopback address")
			return
		}
		to, known := find(routes, r.URL.Path)
		if !to.open && !s.admits(r) {
			h.Set("WWW-Authenticate", "Bearer")
			fail(w, http.StatusUnauthorized, "expected the token of admin.token_file as Authorization: Bearer TOKEN")
			return
		}
		if !known {
			fail(w, http.StatusNotFound, "no such path, expected "+strings.Join(slices.Sorted(maps.Keys(routes)), ", "))
			return
		}
		serve := to.serve[r.Method]
		if serve == nil {
			methods := slices.Sorted(maps.Keys(to.serve))
			h.Set("Allow", strings.Join(methods, ", "))
			fail(w, http.StatusMethodNotAllowed, "expected "+strings.Join(methods, " or "))
			return
		}
		serve(w, r)
	})
}

// admits reports whether a request shows the token, where there is one.
func (s *Server) admits(r *http.Request) bool {
	if s.token == "" {
		return true
	}
	scheme, shown, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	// Hashes have one length, so that the time tells none.
	want, got := sha256.Sum256([]byte(s.token)), sha256.Sum256([]byte(shown))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(got[:], want[:]) == 1
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

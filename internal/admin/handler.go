package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
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
	method string // GET, and HEAD with it; or POST
	open   bool   // it needs no token
	serve  http.HandlerFunc
}

// routes are the paths that there are.
func (s *Server) routes() map[string]route {
	all := map[string]route{
		"/healthz":       {http.MethodGet, true, s.serveHealth},
		"/readyz":        {http.MethodGet, true, s.serveReady},
		"/api/v1/status": {http.MethodGet, false, s.serveStatus},
		"/api/v1/calls":  {http.MethodGet, false, s.serveCalls},
	}
	for path, act := range s.actions {
		all[path] = route{http.MethodPost, false, func(w http.ResponseWriter, r *http.Request) {
			status, body := act(r.Context())
			reply(w, status, body)
		}}
	}
	return all
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
		to, known := routes[r.URL.Path]
		if !to.open && !s.admits(r) {
			h.Set("WWW-Authenticate", "Bearer")
			fail(w, http.StatusUnauthorized, "expected the token of admin.token_file as Authorization: Bearer TOKEN")
			return
		}
		kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // one that can't be read is none
		switch {
		case !known:
			fail(w, http.StatusNotFound, "no such path, expected "+strings.Join(slices.Sorted(maps.Keys(routes)), ", "))
		case to.method == http.MethodGet && r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			fail(w, http.StatusMethodNotAllowed, "expected GET or HEAD")
		case to.method == http.MethodPost && r.Method != http.MethodPost:
			h.Set("Allow", http.MethodPost)
			fail(w, http.StatusMethodNotAllowed, "expected POST")
		case to.method == http.MethodPost && kind != "application/json":
			// A page of the web can't make a browser send this one.
			fail(w, http.StatusUnsupportedMediaType, "expected Content-Type: application/json")
		default:
			to.serve(w, r)
		}
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

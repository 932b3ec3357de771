package worker

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"toolhand/internal/admin"
	"toolhand/internal/config"
)

// How long a running worker may take to answer.
const (
	AskTimeout    = 5 * time.Second
	ReloadTimeout = 30 * time.Second // it waits for MCP servers
)

// openAdmin takes the admin address, if there is to be one, and registers what each
// part can say of itself.
func (w *Worker) openAdmin() (err error) {
	cfg := w.cfg.Admin
	if cfg.Listen == "" {
		return nil
	}
	token, err := readToken("admin.token_file", cfg.TokenFile, w.opts.Secrets)
	if err != nil {
		return err
	}
	if w.page, err = admin.Listen(cfg.Listen, token, w.log); err != nil {
		return err
	}
	cert, err := ServerTLS("admin", cfg.TLSCertFile, cfg.TLSKeyFile, w.log)
	if err != nil {
		return err
	}
	w.page.TLS(cert)
	w.page.Alive(w.service.stuck)
	w.page.Ready(w.unready)
	w.page.Action(http.MethodPost, "/api/v1/reload", w.reload)
	w.page.Action(http.MethodPost, "/api/v1/drain", w.drain)
	w.stats.show(w.page)
	w.page.Section("version", func() any { return map[string]string{"version": w.opts.Version, "commit": w.opts.Commit} })
	w.page.Section("tools", func() any { return w.Tools() })
	w.service.show(w.page)
	w.log.Info("admin address", "listen", w.page.Addr().String())
	return nil
}

// unready says why the worker is not ready.
func (w *Worker) unready() []admin.Reason {
	reasons := w.service.unready()
	if since := w.draining.Load(); since != nil {
		reasons = append(reasons, admin.Reason{Check: "draining", Text: "the worker takes no new calls and ends", Since: *since})
	}
	return reasons
}

// Problems is the answer to a reload that leaves something as it was.
type Problems struct {
	Error    string   `json:"error"`
	Problems []string `json:"problems"`
}

// reload answers when the new set is in force, or what is wrong.
func (w *Worker) reload(ctx context.Context, _ admin.Request) (status int, body any) {
	w.log.Info("reloading tools and key file")
	if err := w.Reload(ctx); err != nil {
		return http.StatusUnprocessableEntity, Problems{"what is broken leaves the old in force", strings.Split(err.Error(), "\n")}
	}
	return http.StatusOK, map[string]int{"tools": len(w.Set().Tools())}
}

// drain has the worker drain, and end.
func (w *Worker) drain(context.Context, admin.Request) (status int, body any) {
	w.log.Info("draining: asked to at the admin address", "grace", w.cfg.Shutdown.Grace)
	w.askDrain()
	return http.StatusAccepted, map[string]string{"status": "draining"}
}

// Admin is the admin address with its port; nil where there is none.
func (w *Worker) Admin() net.Addr {
	if w.page == nil {
		return nil
	}
	return w.page.Addr()
}

// serveAdmin answers until ctx ends. What is served goes on without it: a call that
// is open is worth more than a status page.
func (w *Worker) serveAdmin(ctx context.Context) {
	if err := w.page.Serve(ctx); err != nil {
		w.log.Error("the admin address is lost; sessions are served on without it", "error", err)
	}
}

// Answer is what a running worker says at its admin address.
type Answer struct {
	Status int
	Body   []byte
}

// Ask asks a running worker at the admin address addr (host:port, or a URL) for a path,
// by GET, POST with a body, or DELETE. cfg is the section admin of the configuration. Any answer that is the
// worker's own is one, whatever its status; another token, a wrong question, and no
// answer within timeout are errors.
func Ask(ctx context.Context, addr, method, path, body string, timeout time.Duration, cfg config.Admin) (Answer, error) {
	var none Answer
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	base, client, err := adminClient(addr, cfg)
	if err != nil {
		return none, err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
	if err != nil {
		return none, Usagef("the address %q: %w", addr, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Toolhand", "1")
	if cfg.TokenFile != "" {
		token, err := config.ReadKeyFile(cfg.TokenFile)
		if err != nil {
			return none, Usagef("admin.token_file: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(req)
	if err != nil {
		return none, fmt.Errorf("no worker answers at %s (admin.listen, or --admin): %w", addr, errors.Unwrap(err))
	}
	defer res.Body.Close()
	said, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	switch {
	case err != nil:
		return none, fmt.Errorf("the answer of %s broke off: %w", addr, err)
	case res.StatusCode == http.StatusUnauthorized:
		return none, fmt.Errorf("%s asks for another token than admin.token_file has", addr)
	case res.StatusCode == http.StatusBadRequest:
		var wrong struct{ Error string }
		_ = json.Unmarshal(said, &wrong) // without it the status alone is told
		return none, Usagef("%s answers: %s", addr, cmp.Or(wrong.Error, res.Status))
	case !json.Valid(said):
		return none, fmt.Errorf("%s answers with %s, and not as a worker does", addr, res.Status)
	}
	return Answer{res.StatusCode, said}, nil
}

// adminClient is the client for the admin address addr. Our own address shows the
// certificate of the configuration, under whatever name it is reached; each address of
// this machine counts as ours.
func adminClient(addr string, cfg config.Admin) (base string, client *http.Client, err error) {
	scheme, where, named := strings.Cut(strings.TrimSuffix(addr, "/"), "://")
	if !named {
		scheme, where = "http", scheme
		if cfg.TLSCertFile != "" {
			scheme = "https"
		}
	}
	own := where == cfg.Listen
	if host, port, err := net.SplitHostPort(where); err == nil {
		where = net.JoinHostPort(dialed(host), port)
		own = own || config.Loopback(where)
	}
	var trust *tls.Config
	switch {
	case scheme != "https":
	case own && cfg.TLSCertFile != "":
		if trust, err = ownTLS(cfg.TLSCertFile); err != nil {
			return "", nil, Usagef("admin.tls_cert_file: %w", err)
		}
	default:
		trust = otherTLS(cfg.TLSCertFile)
	}
	return scheme + "://" + where, &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: trust}}, nil
}

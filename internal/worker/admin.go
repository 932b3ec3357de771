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

// askTimeout bounds the question to a running worker.
const askTimeout = 5 * time.Second

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
	w.page.Ready(w.service.unready)
	w.stats.show(w.page)
	w.page.Section("version", func() any { return map[string]string{"version": w.opts.Version, "commit": w.opts.Commit} })
	w.page.Section("tools", func() any { return w.Tools() })
	w.service.show(w.page)
	w.log.Info("admin address", "listen", w.page.Addr().String())
	return nil
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

// Ask asks a running worker at the admin address addr (host:port, or a URL) for a path,
// and returns the body of its answer. cfg is the section admin of the configuration.
func Ask(ctx context.Context, addr, path string, cfg config.Admin) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	base, client, err := adminClient(addr, cfg)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return nil, Usagef("the address %q: %w", addr, err)
	}
	if cfg.TokenFile != "" {
		token, err := config.ReadKeyFile(cfg.TokenFile)
		if err != nil {
			return nil, Usagef("admin.token_file: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no worker answers at %s (admin.listen, or --admin): %w", addr, errors.Unwrap(err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the answer of %s broke off: %w", addr, err)
	case res.StatusCode == http.StatusUnauthorized:
		return nil, fmt.Errorf("%s asks for another token than admin.token_file has", addr)
	case res.StatusCode == http.StatusBadRequest:
		var said struct{ Error string }
		_ = json.Unmarshal(body, &said) // without it the status alone is told
		return nil, Usagef("%s answers: %s", addr, cmp.Or(said.Error, res.Status))
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answers with %s", addr, res.Status)
	}
	return body, nil
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

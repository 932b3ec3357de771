package http

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// Live connects, and for https agrees on TLS, but asks for nothing: whether the
// service behind it is well is not known. Behind a proxy it is the proxy that is
// connected to.
func (h *handler) Live(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, nil)
	if err != nil {
		return err
	}
	u := req.URL
	proxy, err := h.transport.Proxy(req)
	if err != nil {
		return err
	}
	if proxy != nil {
		u = proxy
	}
	dial := (&net.Dialer{}).DialContext
	if u.Scheme == "https" {
		dial = (&tls.Dialer{Config: h.transport.TLSClientConfig.Clone()}).DialContext
	}
	conn, err := dial(ctx, "tcp", authority(u))
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("no connection to %s: %w", u.Host, context.Cause(ctx))
		}
		return err
	}
	return conn.Close()
}

// authority is the host and port of a URL, with the port that it means.
func authority(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	case u.Scheme == "socks5", u.Scheme == "socks5h":
		port = "1080"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

package http

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"toolhand/internal/tools"
)

// parseURL reads the URL of an http tool. Its errors quote nothing of it, since
// a password or a token may stand anywhere in it.
func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("url: expected http://HOST/… or https://HOST/…")
	}
	return u, nil
}

// A Target is where requests go, and what they carry.
type Target struct {
	URL    string // without user and password
	Host   string // of the Host header; empty means the URL's
	Header http.Header
}

// TargetOf checks the URL and the headers of a manifest.
func TargetOf(cfg Config, common tools.Common) (Target, error) {
	u, err := parseURL(cfg.URL)
	if err != nil {
		return Target{}, err
	}
	header, err := headers(cfg, common)
	if err != nil {
		return Target{}, err
	}
	if u.User != nil && header.Get("Authorization") == "" {
		password, _ := u.User.Password()
		login := http.Request{Header: header}
		login.SetBasicAuth(u.User.Username(), password)
	}
	u.User, u.Fragment = nil, ""
	t := Target{URL: u.String(), Host: header.Get("Host"), Header: header}
	header.Del("Host")
	return t, nil
}

// headers are those that the manifest asks for, with the values of the
// environment filled in.
func headers(cfg Config, common tools.Common) (http.Header, error) {
	all := http.Header{}
	add := func(key, name, value string) error {
		if err := checkHeader(name, value); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if _, twice := all[http.CanonicalHeaderKey(name)]; twice {
			return fmt.Errorf("%s: the header %s is given twice", key, name)
		}
		all.Set(name, value)
		return nil
	}
	for name, value := range cfg.Headers {
		if err := add("headers", name, value); err != nil {
			return nil, err
		}
	}
	for name, variable := range cfg.HeaderEnv {
		if tools.IsReserved(variable) {
			return nil, fmt.Errorf("header_env: %s can't be sent to a tool: no name may begin with ANTHROPIC_", variable)
		}
		value, ok := common.Lookup(variable)
		if !ok && !isVariable(variable) {
			return nil, fmt.Errorf("header_env: expected the name of a variable for the header %s, found something else: a secret has no place in a manifest", name)
		}
		if !ok {
			return nil, fmt.Errorf("header_env: the variable %s for the header %s is not set", variable, name)
		}
		if err := add("header_env", name, value); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// checkHeader refuses what can't be sent and what is the worker's own to say.
// The value is not quoted: it may be a secret.
func checkHeader(name, value string) error {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !isToken(r) }) {
		return fmt.Errorf("%q is not the name of a header", name)
	}
	if tools.IsReserved(strings.ToUpper(strings.ReplaceAll(name, "-", "_"))) {
		return fmt.Errorf("%s: no name may begin with ANTHROPIC_", name)
	}
	switch http.CanonicalHeaderKey(name) {
	case "Tool-Name", "Tool-Use-Id", "Session-Id", "Session-Thread-Id", "Tool-Deadline", "Idempotency-Key",
		"Traceparent", "Tracestate", "Content-Type", "Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Upgrade", "Te":
		return fmt.Errorf("%s is set by the worker itself", name)
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return fmt.Errorf("the value of %s has a control character in it (a line end, perhaps)", name)
	}
	return nil
}

// isVariable reports whether a text looks like the name of a variable, and not like what
// one holds.
func isVariable(name string) bool {
	return len(name) <= 100 && !strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// isToken reports whether r may stand in the name of a header (RFC 9110, 5.6.2).
func isToken(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

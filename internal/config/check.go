package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"toolhand/internal/document"
)

// SessionID says what is wrong with id as the id of a session; nil if nothing.
func SessionID(id string) error {
	if err := form().Expect("sessions.ids[]", id); err != nil {
		return fmt.Errorf("session id: %w", err)
	}
	return nil
}

// check tells of what a schema can't say: what a value means, and what two keys
// mean together.
func check(ps *document.Problems, top *document.Node, c *Config) {
	for _, r := range rules {
		if wrong := r.check(c); wrong != "" {
			pointer := "/" + strings.ReplaceAll(r.key, ".", "/")
			ps.At(top.At(pointer), pointer, "%s", wrong)
		}
	}
}

// rule judges one key beyond the schema: check says what is wrong, "" if nothing.
type rule struct {
	key   string
	check func(*Config) string
}

var rules = []rule{
	{"upstream.base_url", func(c *Config) string { return checkBaseURL(c.Upstream.BaseURL) }},
	{"sessions.webhook.listen", func(c *Config) string { return checkListen(c.Sessions.Webhook.Listen) }},
	{"sessions.webhook.path", func(c *Config) string { return checkURLPath(c.Sessions.Webhook.Path) }},
	{"nats.url", func(c *Config) string { return checkNATSURL(c.NATS) }},
	{"nats.listen", func(c *Config) string { return checkGuarded(c.NATS.Listen, c.NATS.TokenFile, "nats.token_file") }},
	{"nats.tls_cert_file", func(c *Config) string { return checkPair(c.NATS.TLSCertFile, c.NATS.TLSKeyFile, "nats.tls_key_file") }},
	{"nats.tls_key_file", func(c *Config) string { return checkPair(c.NATS.TLSKeyFile, c.NATS.TLSCertFile, "nats.tls_cert_file") }},
	{"admin.tls_cert_file", func(c *Config) string {
		return checkPair(c.Admin.TLSCertFile, c.Admin.TLSKeyFile, "admin.tls_key_file")
	}},
	{"admin.tls_key_file", func(c *Config) string {
		return checkPair(c.Admin.TLSKeyFile, c.Admin.TLSCertFile, "admin.tls_cert_file")
	}},
	{"admin.listen", func(c *Config) string { return checkGuarded(c.Admin.Listen, c.Admin.TokenFile, "admin.token_file") }},
}

// checkBaseURL never shows the URL: it could hold a password.
func checkBaseURL(s string) string {
	const expected = "expected an http or https URL such as " + DefaultBaseURL + ", found one "
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return expected + "that can't be read"
	case u.Scheme != "http" && u.Scheme != "https":
		return expected + "of another kind"
	case u.Hostname() == "":
		return expected + "without a host"
	case u.User != nil:
		return expected + "with a user or a password: a key stands in ANTHROPIC_API_KEY or upstream.api_key_file"
	case u.RawQuery != "" || u.ForceQuery:
		return expected + "with a query"
	case u.Fragment != "" || strings.HasSuffix(s, "#"):
		return expected + "with a fragment"
	}
	return ""
}

// checkNATSURL takes a list of servers, as the client does.
func checkNATSURL(n NATS) string {
	if n.URL == "" {
		return ""
	}
	for server := range strings.SplitSeq(n.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if err != nil || u.Hostname() == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return "expected the URL of a NATS server such as nats://127.0.0.1:4222, or several with commas between them"
		}
	}
	return ""
}

func checkURLPath(path string) string {
	u, err := url.Parse(path)
	if err == nil && strings.HasPrefix(path, "/") && u.Path == path && u.Host == "" {
		return ""
	}
	return "expected the path of a URL such as /webhook, found " + document.Quote(path)
}

// checkListen wants host:port, or nothing.
func checkListen(addr string) string {
	if addr == "" {
		return ""
	}
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return "expected host:port such as 127.0.0.1:9464, the port a number, found " + document.Quote(addr)
	}
	return ""
}

// checkPair wants a certificate and its key together.
func checkPair(file, other, key string) string {
	if file != "" && other == "" {
		return "expected " + key + " too, found none"
	}
	return ""
}

// Exposed says of the addresses what others could read or do there, for the log.
func Exposed(c *Config) []string {
	var all []string
	if listen := c.NATS.Listen; listen != "" {
		if c.NATS.TokenFile == "" {
			all = append(all, "nats.listen has no token: everybody on this machine can serve tools; set nats.token_file")
		}
		if c.NATS.TLSCertFile == "" && !Loopback(listen) {
			all = append(all, "nats.listen is not loopback and has no TLS: the token, inputs and results can be read on the way; set nats.tls_cert_file and nats.tls_key_file")
		}
	}
	if listen := c.Admin.Listen; listen != "" && c.Admin.TLSCertFile == "" && !Loopback(listen) {
		all = append(all, "admin.listen is not loopback and has no TLS: the token can be read on the way; set admin.tls_cert_file and admin.tls_key_file")
	}
	return all
}

// checkGuarded wants a token where others than this machine can connect.
func checkGuarded(addr, tokenFile, key string) string {
	if wrong := checkListen(addr); wrong != "" || addr == "" {
		return wrong
	}
	if tokenFile == "" && !Loopback(addr) {
		return fmt.Sprintf("expected a loopback address such as 127.0.0.1, or a token in %s, found %s", key, document.Quote(addr))
	}
	return ""
}

// Loopback reports whether addr (host:port) can be reached from this machine
// only. A name other than localhost is not looked up and counts as no.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/token"
)

// names are ids of sessions and agents, and names of tools: what can be part
// of a URL and of a NATS subject as it is.
var names = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// SessionID says what is wrong with id as the id of a session; nil if nothing.
func SessionID(id string) error {
	if wrong := checkName(id); wrong != "" {
		return fmt.Errorf("session id %s", wrong)
	}
	return nil
}

func checkName(s string) string {
	if names.MatchString(s) {
		return ""
	}
	return fmt.Sprintf("is %s, expected 1-128 letters, digits, _ and -", quote(s))
}

// check reports every value that has the right type and can't be.
func (w *walk) check(c *Config) {
	for _, r := range rules {
		if wrong := r.check(c); wrong != "" {
			w.report(r.key, wrong)
		}
	}
	w.names("sessions.ids", c.Sessions.IDs)
	w.names("sessions.discover.agent_ids", c.Sessions.Discover.AgentIDs)
	w.names("tools.discover", c.Tools.Discover.Names)
}

// names reports elements of a list that are no names, or stand there twice.
func (w *walk) names(key string, list []string) {
	for i, name := range list {
		element := key + "[" + strconv.Itoa(i) + "]"
		if wrong := checkName(name); wrong != "" {
			w.report(element, wrong)
		} else if before := slices.Index(list, name); before < i {
			w.report(element, fmt.Sprintf("%s stands there twice, expected distinct ones", name))
		}
	}
}

// report adds a problem at the value of key, unless that value has one: it was
// not taken then, and its default is what was checked.
func (w *walk) report(key, text string) {
	pos := w.seen[key]
	if pos == nil {
		// A default is in order, so another key has made it wrong: say it
		// at the section.
		pos = &token.Position{Line: 1, Column: 1}
		if section, _, ok := strings.Cut(key, "."); ok && w.seen[section] != nil {
			pos = w.seen[section]
		}
	}
	for _, p := range w.problems.Problems {
		if p.Key == key {
			return
		}
	}
	w.add(pos, key, text)
}

// rule is a bound of one key: check says what is wrong, "" if nothing.
type rule struct {
	key   string
	check func(*Config) string
}

var rules = []rule{
	{"upstream.base_url", func(c *Config) string { return checkBaseURL(c.Upstream.BaseURL) }},
	{"upstream.api_key_file", func(c *Config) string { return checkKeyFile(c.Upstream.APIKeyFile) }},
	{"upstream.requests_per_minute", func(c *Config) string { return checkMin(c.Upstream.RequestsPerMinute, 0) }},
	{"upstream.stream_idle_timeout", func(c *Config) string { return checkPositive(c.Upstream.StreamIdleTimeout) }},
	{"upstream.reconcile_interval", func(c *Config) string { return checkPositive(c.Upstream.ReconcileInterval) }},
	{"upstream.request_timeout", func(c *Config) string { return checkPositive(c.Upstream.RequestTimeout) }},
	{"upstream.send_timeout", func(c *Config) string { return checkPositive(c.Upstream.SendTimeout) }},
	{"sessions.discover.interval", func(c *Config) string { return checkPositive(c.Sessions.Discover.Interval) }},
	{"sessions.webhook.listen", func(c *Config) string { return checkListen(c.Sessions.Webhook.Listen) }},
	{"sessions.webhook.path", func(c *Config) string { return checkURLPath(c.Sessions.Webhook.Path) }},
	{"sessions.max_active", func(c *Config) string { return checkMin(c.Sessions.MaxActive, 1) }},
	{"sessions.max_idle", func(c *Config) string { return checkNotNegative(c.Sessions.MaxIdle) }},
	{"results.flush", func(c *Config) string { return checkOneOf(c.Results.Flush, FlushTurn, FlushEager) }},
	{"results.linger", func(c *Config) string { return checkNotNegative(c.Results.Linger) }},
	{"tools.dir", func(c *Config) string { return checkNotEmpty(c.Tools.Dir, "the path of a directory") }},
	{"tools.unknown", func(c *Config) string { return checkOneOf(c.Tools.Unknown, UnknownError, UnknownIgnore) }},
	{"tools.concurrency", func(c *Config) string { return checkMin(c.Tools.Concurrency, 1) }},
	{"nats.url", func(c *Config) string { return checkNATSURL(c.NATS) }},
	{"nats.listen", func(c *Config) string { return checkGuarded(c.NATS.Listen, c.NATS.TokenFile, "nats.token_file") }},
	{"nats.replicas", func(c *Config) string { return checkReplicas(c.NATS.Replicas) }},
	{"journal.sync", func(c *Config) string { return checkOneOf(c.Journal.Sync, SyncAlways, SyncInterval) }},
	{"admin.listen", func(c *Config) string { return checkGuarded(c.Admin.Listen, c.Admin.TokenFile, "admin.token_file") }},
	{"log.level", func(c *Config) string { return checkOneOf(c.Log.Level, "debug", "info", "warn", "error") }},
	{"log.format", func(c *Config) string { return checkOneOf(c.Log.Format, "auto", "tint", "text", "json") }},
	{"shutdown.grace", func(c *Config) string { return checkNotNegative(c.Shutdown.Grace) }},
}

func checkOneOf(s string, allowed ...string) string {
	if slices.Contains(allowed, s) {
		return ""
	}
	last := len(allowed) - 1
	return fmt.Sprintf("is %s, expected %s or %s", quote(s), strings.Join(allowed[:last], ", "), allowed[last])
}

func checkNotEmpty(s, expected string) string {
	if s != "" {
		return ""
	}
	return "is empty, expected " + expected
}

func checkMin(n, least int) string {
	if n >= least {
		return ""
	}
	return fmt.Sprintf("is %d, expected at least %d", n, least)
}

// checkReplicas has the bounds of JetStream.
func checkReplicas(n int) string {
	if n >= 1 && n <= 5 {
		return ""
	}
	return fmt.Sprintf("is %d, expected 1 to 5", n)
}

func checkPositive(d Duration) string {
	if d > 0 {
		return ""
	}
	return fmt.Sprintf("is %s, expected more than 0s", d)
}

func checkNotNegative(d Duration) string {
	if d >= 0 {
		return ""
	}
	return fmt.Sprintf("is %s, expected 0s or more", d)
}

// checkKeyFile catches the key itself in place of its file, and does not
// repeat it.
func checkKeyFile(path string) string {
	if strings.HasPrefix(path, "sk-ant-") {
		return "holds a key, expected the path of a file that holds it"
	}
	return ""
}

// checkBaseURL never shows the URL: it could hold a password.
func checkBaseURL(s string) string {
	const expected = ", expected such as " + DefaultBaseURL
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "is not a URL" + expected
	case u.Scheme != "http" && u.Scheme != "https":
		return "is not an http or https URL" + expected
	case u.Hostname() == "":
		return "has no host" + expected
	case u.User != nil:
		return "has a user or a password in it, expected none: a key stands in ANTHROPIC_API_KEY or upstream.api_key_file"
	case u.RawQuery != "" || u.ForceQuery:
		return "has a query" + expected
	case u.Fragment != "" || strings.HasSuffix(s, "#"):
		return "has a fragment" + expected
	}
	return ""
}

// checkNATSURL takes a list of servers, as the client does.
func checkNATSURL(n NATS) string {
	if n.URL == "" {
		return ""
	}
	if n.Listen != "" {
		return "is set and nats.listen too, expected one of them: listen is the address of the embedded server, which url replaces"
	}
	for server := range strings.SplitSeq(n.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if err != nil || u.Hostname() == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return "is not the URL of a NATS server, expected such as nats://127.0.0.1:4222, or several with commas between them"
		}
	}
	return ""
}

func checkURLPath(path string) string {
	u, err := url.Parse(path)
	if err == nil && strings.HasPrefix(path, "/") && u.Path == path && u.Host == "" {
		return ""
	}
	return fmt.Sprintf("is %s, expected the path of a URL such as /webhook", quote(path))
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
		return fmt.Sprintf("is %s, expected host:port such as 127.0.0.1:9464, the port a number", quote(addr))
	}
	return ""
}

// checkGuarded wants a token where others than this machine can connect.
func checkGuarded(addr, tokenFile, key string) string {
	if wrong := checkListen(addr); wrong != "" || addr == "" {
		return wrong
	}
	if tokenFile == "" && !Loopback(addr) {
		return fmt.Sprintf("is %s, which is not loopback, expected 127.0.0.1, or a token in %s", quote(addr), key)
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

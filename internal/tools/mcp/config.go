package mcp

import (
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"toolhand/internal/tools"
	toolexec "toolhand/internal/tools/exec"
	toolhttp "toolhand/internal/tools/http"
	"toolhand/internal/tools/proctree"
)

// Config is a manifest's handler.mcp. Command and URL say which server it is,
// the rest which of its tools: one (Tool), those of Names, or All.
type Config struct {
	// Command is the program of a server that speaks over its standard streams,
	// and its arguments; Dir, Env, PassEnv and User are as in [toolhand/internal/tools/exec.Config].
	Command []string          `yaml:"command"`
	Dir     string            `yaml:"dir"`
	Env     map[string]string `yaml:"env"`
	PassEnv []string          `yaml:"pass_env"`
	User    string            `yaml:"user"`
	// URL is that of a server that speaks streamable HTTP; Headers and HeaderEnv
	// are as in [toolhand/internal/tools/http.Config].
	URL       string            `yaml:"url"`
	Headers   map[string]string `yaml:"headers"`
	HeaderEnv map[string]string `yaml:"header_env"`
	// Tool is the server's own name of the tool. Empty means [Common.Name].
	Tool string `yaml:"tool"`
	// Names are the server's own names of a group's tools; All asks for all that
	// it has: the key tools is a list or "*". Prefix stands before them in the names that
	// the agent sees.
	Names  []string `yaml:"-"`
	All    bool     `yaml:"-"`
	Prefix string   `yaml:"prefix"`
}

//go:embed schema.json
var schema string

// Schema is the form of what manifests may say of a Config; see [tools.Config].
func (Config) Schema() string { return schema }

// Group reports whether this asks for a group of tools.
func (c Config) Group() bool { return c.All || len(c.Names) > 0 }

// An endpoint is a server as its manifests describe it, with all that they name
// looked up. It is immutable.
type endpoint struct {
	// key tells servers apart: what has the same key is one server. It is a hash,
	// for there may be secrets in what it is made of.
	key string
	// name is what logs and answers call the server by.
	name string
	// hide takes what may be a secret of the manifest's out of a server's words.
	hide *strings.Replacer
	// path, args, dir, env and user are those of a program; path is empty for a
	// server at a URL.
	path string
	args []string
	dir  string
	env  []string
	user *syscall.Credential
	// url, query, host and header are those of a server at a URL; url has no query,
	// as there may be a secret in it.
	url, query, host string
	header           http.Header
}

// serverOf finds the server that a config describes; nothing is started.
func serverOf(cfg Config, common tools.Common, servers *Servers) (*server, error) {
	if servers == nil {
		return nil, errors.New("there are no MCP servers here")
	}
	e, err := endpointOf(cfg, common)
	if err != nil {
		return nil, err
	}
	return servers.server(e), nil
}

// endpointOf checks all of a config that can be checked without the server.
func endpointOf(cfg Config, common tools.Common) (*endpoint, error) {
	switch {
	case len(cfg.Command) > 0 && cfg.URL != "":
		return nil, errors.New("expected command or url, found both")
	case cfg.URL != "":
		if cfg.Dir != "" || len(cfg.Env) > 0 || len(cfg.PassEnv) > 0 || cfg.User != "" {
			return nil, errors.New("dir, env, pass_env and user belong to a command, not to a url")
		}
		return urlEndpoint(cfg, common)
	case len(cfg.Command) == 0 || cfg.Command[0] == "":
		return nil, errors.New("expected a command (a program and its arguments) or a url")
	case len(cfg.Headers) > 0 || len(cfg.HeaderEnv) > 0:
		return nil, errors.New("headers and header_env belong to a url, not to a command")
	}
	return commandEndpoint(cfg, common)
}

func commandEndpoint(cfg Config, common tools.Common) (*endpoint, error) {
	dir, err := toolexec.WorkDir(cfg.Dir, common.Dir)
	if err != nil {
		return nil, err
	}
	user, home, err := toolexec.Credential(cfg.User)
	if err != nil {
		return nil, err
	}
	if _, set := cfg.Env[proctree.ServerVar]; set {
		return nil, fmt.Errorf("env: %s is set by the worker itself", proctree.ServerVar)
	}
	vars, err := toolexec.Environment(toolexec.Config{Env: cfg.Env, PassEnv: cfg.PassEnv}, common, home)
	if err != nil {
		return nil, err
	}
	delete(vars, proctree.ServerVar)
	path, err := toolexec.Program(cfg.Command[0], dir, vars["PATH"], user == nil)
	if err != nil {
		return nil, err
	}
	e := &endpoint{name: cfg.Command[0], path: path, args: cfg.Command, dir: dir, user: user}
	if len(cfg.Command) > 1 { // there may be a secret among the arguments
		e.name += " …"
	}
	secrets := slices.Collect(maps.Values(cfg.Env))
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		e.env = append(e.env, name+"="+vars[name])
		if slices.Contains(cfg.PassEnv, name) {
			secrets = append(secrets, vars[name])
		}
	}
	e.hide = hiding(secrets)
	e.key = keyOf(path, e.args, dir, e.env, cfg.User)
	return e, nil
}

func urlEndpoint(cfg Config, common tools.Common) (*endpoint, error) {
	t, err := toolhttp.TargetOf(toolhttp.Config{URL: cfg.URL, Headers: cfg.Headers, HeaderEnv: cfg.HeaderEnv}, common)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"Accept", "Mcp-Session-Id", "Mcp-Protocol-Version", "Last-Event-Id"} {
		if _, set := t.Header[name]; set {
			return nil, fmt.Errorf("headers: %s is set by the worker itself", name)
		}
	}
	e := &endpoint{host: t.Host, header: t.Header, key: keyOf(t.URL, t.Host, t.Header)}
	e.url, e.query, _ = strings.Cut(t.URL, "?")
	e.name = e.url
	secrets := []string{e.query}
	for _, pair := range strings.Split(e.query, "&") {
		_, value, _ := strings.Cut(pair, "=")
		plain, _ := url.QueryUnescape(value)
		secrets = append(secrets, value, plain)
	}
	for name := range t.Header {
		value := t.Header.Get(name)
		secrets = append(secrets, value, value[strings.LastIndex(value, " ")+1:]) // as in "Bearer X"
	}
	if _, password, ok := (&http.Request{Header: t.Header}).BasicAuth(); ok {
		secrets = append(secrets, password)
	}
	e.hide = hiding(secrets)
	return e, nil
}

// minSecret is the length in bytes of the shortest value that counts as a secret: a
// shorter one would take ordinary words out of every text.
const minSecret = 6

// hiding replaces secrets, the longest first, as one can be part of another.
func hiding(secrets []string) *strings.Replacer {
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, s := range secrets {
		if len(s) >= minSecret {
			pairs = append(pairs, s, "[redacted]")
		}
	}
	return strings.NewReplacer(pairs...)
}

// keyOf hashes what tells one server from another; maps have their keys in order.
func keyOf(parts ...any) string {
	text, err := json.Marshal(parts)
	if err != nil {
		panic(err) // strings, slices and maps of them: there is no such value
	}
	return fmt.Sprintf("%x", sha256.Sum256(text))
}

// command makes the server's process, without its streams.
func (e *endpoint) command(mark string) *exec.Cmd {
	return &exec.Cmd{
		Path: e.path, Args: e.args, Dir: e.dir,
		Env:         append(e.env[:len(e.env):len(e.env)], mark),
		SysProcAttr: &syscall.SysProcAttr{Credential: e.user},
	}
}

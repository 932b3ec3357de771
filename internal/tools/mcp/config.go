package mcp

import (
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
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
	// Only the program is named: there may be a secret among its arguments.
	e := &endpoint{name: cfg.Command[0], path: path, args: cfg.Command, dir: dir, user: user}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		e.env = append(e.env, name+"="+vars[name])
	}
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
	return e, nil
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

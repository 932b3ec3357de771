package registry

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"toolhand/internal/tools"
	toolexec "toolhand/internal/tools/exec"
	toolhttp "toolhand/internal/tools/http"
	toolmcp "toolhand/internal/tools/mcp"
	toolnats "toolhand/internal/tools/nats"
	"toolhand/internal/tools/proctree"
	"toolhand/internal/tools/queue"
)

// constructors make the handlers; a test may put its own here.
type constructors struct {
	exec func(toolexec.Config, tools.Common, *proctree.Processes) (tools.Handler, error)
	http func(toolhttp.Config, tools.Common) (tools.Handler, error)
	nats func(toolnats.Config, tools.Common, func() (*nats.Conn, error)) (tools.Handler, error)

	mcp      func(toolmcp.Config, tools.Common, *toolmcp.Servers) (tools.Handler, error)
	mcpGroup func(toolmcp.Config, tools.Common, *toolmcp.Servers) (*toolmcp.Group, error)
}

// handlerKind finds the one kind of handler, and its mapping. The kind is empty
// if there is not exactly one.
func (m *manifest) handlerKind(top *node) (string, *node) {
	n := top.get("handler")
	if n == nil {
		m.at(top, "the key handler is missing: expected exactly one of exec, http, nats or mcp in it")
		return "", nil
	}
	if !m.mapping(n, "handler", `{ exec: { command: ["./run.sh"] } }`) {
		return "", nil
	}
	m.known(n, "handler")
	var kinds []string
	for _, k := range n.keys {
		if slices.Contains(keysAt("handler"), k.text) && !slices.Contains(kinds, k.text) {
			kinds = append(kinds, k.text)
		}
	}
	switch len(kinds) {
	case 0:
		m.at(n, "handler: expected exactly one of exec, http, nats or mcp, found none")
		return "", nil
	case 1:
		return kinds[0], n.get(kinds[0])
	}
	m.at(n, "handler: expected exactly one of exec, http, nats or mcp, found %s", strings.Join(kinds, " and "))
	return "", nil
}

// handler makes the tool's handler, if all that was read before is well.
func (m *manifest) handler(kind string, n *node, t *Tool) {
	common := tools.Common{
		Name: t.Name, Dir: m.dir, MaxResultBytes: t.MaxResultBytes, Idempotent: t.Idempotent,
		Log: m.opts.Log, LookupEnv: m.opts.LookupEnv,
	}
	var err error
	switch kind {
	case "exec":
		cfg, ok := m.execConfig(n)
		if !ok || t.Name == "" {
			return
		}
		t.Handler, err = m.opts.make.exec(cfg, common, m.opts.Processes)
	case "http":
		cfg, ok := m.httpConfig(n)
		if !ok || t.Name == "" {
			return
		}
		t.Handler, err = m.opts.make.http(cfg, common)
	case "mcp":
		err = m.mcpHandler(n, t, common)
	case "nats":
		cfg, ok := m.natsConfig(n)
		if !ok || t.Name == "" {
			return
		}
		if cfg.Queue {
			t.Handler, err = queue.NewHandler(cfg, common, m.opts.Queue)
		} else {
			t.Handler, err = m.opts.make.nats(cfg, common, m.opts.NATS)
		}
	default:
		return
	}
	if err != nil {
		// A constructor may tell several things at once.
		var many interface{ Unwrap() []error }
		if errors.As(err, &many) {
			for _, one := range many.Unwrap() {
				m.at(n, "handler.%s: %s", kind, one)
			}
			return
		}
		m.at(n, "handler.%s: %s", kind, err)
	}
}

func (m *manifest) execConfig(n *node) (cfg toolexec.Config, ok bool) {
	before := len(m.list)
	if !m.mapping(n, "handler.exec", `{ command: ["./run.sh"] }`) {
		return cfg, false
	}
	m.known(n, "handler.exec")
	cfg.Command = m.texts(n, "command", "handler.exec.command")
	switch command := n.get("command"); {
	case command == nil:
		m.at(n, "handler.exec: the key command is missing: expected the program and its arguments, such as [\"./run.sh\"]")
	case command.kind == kindArray && len(command.items) == 0, len(cfg.Command) > 0 && cfg.Command[0] == "":
		m.at(command, "handler.exec.command: expected the program and its arguments, such as [\"./run.sh\"], found no program")
	}
	cfg.Dir = m.optional(n, "dir", "handler.exec.dir")
	cfg.Env = m.pairs(n, "env", "handler.exec.env")
	cfg.PassEnv = m.texts(n, "pass_env", "handler.exec.pass_env")
	cfg.User = m.optional(n, "user", "handler.exec.user")
	return cfg, len(m.list) == before
}

func (m *manifest) httpConfig(n *node) (cfg toolhttp.Config, ok bool) {
	before := len(m.list)
	if !m.mapping(n, "handler.http", "{ url: \"https://tools.internal/run\" }") {
		return cfg, false
	}
	m.known(n, "handler.http")
	if cfg.URL = m.optional(n, "url", "handler.http.url"); n.get("url") == nil {
		m.at(n, "handler.http: the key url is missing: expected where calls are posted, such as https://tools.internal/run")
	}
	cfg.Headers = m.pairs(n, "headers", "handler.http.headers")
	cfg.HeaderEnv = m.pairs(n, "header_env", "handler.http.header_env")
	return cfg, len(m.list) == before
}

// optional reads a string that may be left out.
func (m *manifest) optional(n *node, key, where string) string {
	item := n.get(key)
	if item == nil {
		return ""
	}
	text, _ := m.text(item, where)
	return text
}

func (m *manifest) texts(n *node, key, where string) []string {
	list := n.get(key)
	if list == nil {
		return nil
	}
	if list.kind != kindArray {
		m.at(list, "%s: expected a list of strings, found %s", where, list.describe())
		return nil
	}
	var out []string
	for i, item := range list.items {
		if text, ok := m.text(item, fmt.Sprintf("%s[%d]", where, i)); ok {
			out = append(out, text)
		}
	}
	return out
}

func (m *manifest) pairs(n *node, key, where string) map[string]string {
	table := n.get(key)
	if table == nil || !m.mapping(table, where, "{ KEY: value }") {
		return nil
	}
	out := make(map[string]string, len(table.keys))
	for i, k := range table.keys {
		if text, ok := m.text(table.items[i], where+"."+shorten(k.text)); ok {
			out[k.text] = text
		}
	}
	return out
}

// schema reads input_schema or input_schema_file, and compiles it.
func (m *manifest) schema(top *node, t *Tool) {
	inline, file := top.get("input_schema"), top.get("input_schema_file")
	home := schemaHome{dir: m.real, file: filepath.Join(m.real, filepath.Base(m.file))}
	switch {
	case inline != nil && file != nil:
		m.at(file, "expected input_schema or input_schema_file, found both")
	case inline != nil:
		t.schema = compileSchema(m.problems, inline, home)
		t.InputSchema = inline.json()
	case file != nil:
		m.schemaFile(file, t, home)
	default:
		m.at(top, "the key input_schema is missing: expected a JSON Schema, or input_schema_file with its path")
	}
}

func (m *manifest) schemaFile(n *node, t *Tool, home schemaHome) {
	rel, ok := m.text(n, "input_schema_file")
	if !ok {
		return
	}
	rel = filepath.Clean(filepath.FromSlash(rel))
	if !filepath.IsLocal(rel) {
		m.at(n, "input_schema_file: expected a path within the manifest's folder, found %s", quoteShort(n.text))
		return
	}
	data, err := readIn(m.real, rel)
	if err != nil {
		m.at(n, "input_schema_file %s: %s", quoteShort(rel), err)
		return
	}
	inFile := &problems{file: filepath.Join(filepath.Dir(m.problems.file), rel)}
	home.file = filepath.Join(m.real, rel)
	if parsed := parseFile(inFile, rel, data); parsed != nil {
		t.schema = compileSchema(inFile, parsed, home)
		t.InputSchema = parsed.json()
	}
	m.list = append(m.list, inFile.list...)
}

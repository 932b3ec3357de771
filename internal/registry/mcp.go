package registry

import (
	"slices"

	toolmcp "toolhand/internal/tools/mcp"
)

// mcpServer tells of a server that is described twice, or not at all.
func (m *manifest) mcpServer(n *node, cfg *toolmcp.Config) {
	command, url := n.get("command"), n.get("url")
	switch {
	case command == nil && url == nil:
		m.at(n, "handler.mcp: expected a command (a program and its arguments) or a url, found neither")
	case command != nil && url != nil && (cfg.URL != "" || url.kind != kindString):
		m.at(n, "handler.mcp: expected a command or a url, found both")
	case command != nil && command.kind == kindArray && (len(command.items) == 0 || len(cfg.Command) > 0 && cfg.Command[0] == ""):
		m.at(command, "handler.mcp.command: expected the program and its arguments, such as [\"some-mcp-server\"], found no program")
	case command == nil && url.kind == kindString && cfg.URL == "":
		m.at(url, "handler.mcp.url: expected http://HOST/… or https://HOST/…, found nothing")
	}
}

// mcpTools reads which of the server's tools are meant.
func (m *manifest) mcpTools(n *node, cfg *toolmcp.Config) {
	one, many, prefix := n.get("tool"), n.get("tools"), n.get("prefix")
	if one != nil && one.kind == kindString && cfg.Tool == "" {
		m.at(one, "handler.mcp.tool: expected the server's own name of the tool, found nothing")
	}
	switch {
	case many == nil && prefix != nil:
		m.at(prefix, "handler.mcp.prefix: expected only beside tools")
		return
	case many == nil:
		return
	case one != nil:
		m.at(many, "handler.mcp: expected tool or tools, found both")
	}
	if prefix != nil {
		part := m.opts.format.partAt("handler.mcp.prefix")
		if cfg.Prefix, _ = m.text(prefix, "handler.mcp.prefix"); part.Validate(cfg.Prefix) != nil {
			m.at(prefix, "handler.mcp.prefix: expected %s, found %s", part.Title, prefix.describe())
		}
	}
	if many.kind == kindString && many.text == "*" {
		cfg.All = true
		return
	}
	if many.kind != kindArray || len(many.items) == 0 {
		m.at(many, "handler.mcp.tools: expected \"*\" or a list of the server's own names, found %s", many.describe())
		return
	}
	cfg.Names = m.texts(many, "handler.mcp.tools")
	for i, name := range cfg.Names {
		if err := checkName(cfg.Prefix + name); err != nil {
			m.at(many, "handler.mcp.tools: the name %s with its prefix: %s", quoteShort(name), err)
		}
		if slices.Contains(cfg.Names[:i], name) {
			m.at(many, "handler.mcp.tools: %s is there twice", quoteShort(name))
		}
	}
}

// groupOnly tells of keys that a manifest of a group can't have.
func (m *manifest) groupOnly(top *node) {
	for _, key := range []string{"description", "input_schema", "input_schema_file"} {
		if n := top.get(key); n != nil {
			m.at(n, "%s: expected none in the manifest of a group (handler.mcp.tools): it comes from the server", key)
		}
	}
}

// isGroup reports whether a handler is one of many tools.
func isGroup(kind string, n *node) bool {
	return kind == "mcp" && n != nil && n.kind == kindObject && n.get("tools") != nil
}

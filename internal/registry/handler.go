package registry

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"toolhand/internal/tools"
	toolmcp "toolhand/internal/tools/mcp"
	toolnats "toolhand/internal/tools/nats"
)

// findKind finds the one kind of handler, and its mapping. The kind is empty
// if there is not exactly one.
func (m *manifest) findKind(top *node) (string, *node) {
	known, first := m.opts.format.keysAt("handler"), m.opts.format.kinds[0]
	one := "expected exactly one of " + listed(known, "or")
	n := top.get("handler")
	if n == nil {
		m.at(top, "the key handler is missing: %s in it", one)
		return "", nil
	}
	if !m.mapping(n, "handler", "{ "+first.name+": "+first.example+" }") {
		return "", nil
	}
	m.known(n, "handler")
	var kinds []string
	for _, k := range n.keys {
		if slices.Contains(known, k.text) && !slices.Contains(kinds, k.text) {
			kinds = append(kinds, k.text)
		}
	}
	switch len(kinds) {
	case 0:
		m.at(n, "handler: %s, found none", one)
		return "", nil
	case 1:
		return kinds[0], n.get(kinds[0])
	}
	m.at(n, "handler: %s, found %s", one, strings.Join(kinds, " and "))
	return "", nil
}

// handler makes the tool's handler, or the group of many tools, if all that was read
// before is well.
func (m *manifest) handler(name string, n *node, t *Tool) {
	i := slices.IndexFunc(m.opts.format.kinds, func(k handlerKind) bool { return k.name == name })
	if i < 0 {
		return
	}
	kind := m.opts.format.kinds[i]
	before := len(m.list)
	cfg := kind.config()
	if m.mapping(n, "handler."+name, kind.example) {
		m.fields(n, "handler."+name, cfg)
		m.special(n, cfg)
	}
	if len(m.list) > before || t.Name == "" {
		return
	}
	common := tools.Common{
		Name: t.Name, Dir: m.dir, MaxResultBytes: t.MaxResultBytes, Idempotent: t.Idempotent,
		Log: m.opts.Log, LookupEnv: m.opts.LookupEnv,
	}
	var err error
	if c, ok := cfg.(*toolmcp.Config); ok && c.Group() {
		m.group = &group{template: *t, cfg: *c, line: n.get("tools").line, column: n.get("tools").column}
		m.group.source, err = m.opts.format.group(*c, common, m.opts.Servers)
	} else {
		t.Handler, err = kind.make(cfg, common, m.opts.Dependencies)
	}
	// A constructor may tell several things at once.
	var many interface{ Unwrap() []error }
	switch {
	case errors.As(err, &many):
		for _, one := range many.Unwrap() {
			m.at(n, "handler.%s: %s", name, one)
		}
	case err != nil:
		m.at(n, "handler.%s: %s", name, err)
	}
}

// special tells what keys of one handler mean for each other, where that is more than
// their types.
func (m *manifest) special(n *node, cfg any) {
	switch c := cfg.(type) {
	case *toolmcp.Config:
		m.mcpServer(n, c)
		m.mcpTools(n, c)
	case *toolnats.Config:
		if subject := n.get("subject"); subject != nil && c.Queue {
			m.warnings = append(m.warnings, fmt.Sprintf("%s:%d:%d: handler.nats.subject has no effect where queue is true: jobs are on toolhand.jobs.NAME", m.problems.file, subject.line, subject.column))
		}
	}
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

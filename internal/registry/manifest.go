package registry

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"toolhand/internal/document"
	"toolhand/internal/schema"
	"toolhand/internal/tools"
	toolmcp "toolhand/internal/tools/mcp"
	toolnats "toolhand/internal/tools/nats"
)

// What a tool gets that does not say.
const (
	// DefaultDeadline is the deadline of a tool that names none.
	DefaultDeadline = 120 * time.Second
	// DefaultMaxResultBytes is the size of a result's text, in bytes.
	DefaultMaxResultBytes = 262144

	defaultDeadlineText = "120s"
	// longDescription is in characters: what is longer fills an agent's context.
	longDescription = 1024
)

// Manifest is what is said of one tool, by a file of tools.d, by an MCP server's listing, by
// an announcement, or in Go. Zero values are the defaults of a file.
type Manifest struct {
	// Name is 1 to 128 letters, digits, _ and -.
	Name string `yaml:"name"`
	// Description is the name if it is empty.
	Description string `yaml:"description"`
	// InputSchema is the schema as JSON, its keys in their order and its numbers as they
	// were written; {"type":"object"} if it is empty.
	InputSchema json.RawMessage `yaml:"input_schema"`
	// AssertFormats says that the schema's format is checked too.
	AssertFormats bool `yaml:"assert_formats"`
	// Deadline is the wall clock from the receipt of a call to its result.
	Deadline time.Duration `yaml:"deadline"`
	// DeadlineText is Deadline as it was spelled, such as 2m.
	DeadlineText string `yaml:"-"`
	// Concurrency bounds the calls that run at once; 0 is no bound.
	Concurrency int `yaml:"concurrency"`
	// Idempotent reports whether a call may be run again.
	Idempotent bool `yaml:"idempotent"`
	// MaxResultBytes bounds the text of a result, in bytes.
	MaxResultBytes int `yaml:"max_result_bytes"`
	// Retry says how often a call is tried, and Rate how many may begin.
	Retry Retry `yaml:"retry"`
	Rate  Rate  `yaml:"rate"`

	// Kind is the key of the handler, such as exec; go if it is empty.
	Kind string `yaml:"-"`
	// Handler runs the calls.
	Handler tools.Handler `yaml:"-"`
}

// NewTool makes a tool, with its schema compiled. The schema refers to no files.
func NewTool(m Manifest) (*Tool, error) {
	ps := &document.Problems{File: fmt.Sprintf("tool %q", m.Name)}
	m.applyDefaults()
	n, s := compileText(ps, m.InputSchema, schema.Options{AssertFormats: m.AssertFormats})
	t := newTool(ps, m, n, s)
	if m.Handler == nil {
		ps.Add("expected a handler, found none")
	}
	return t, ps.Err()
}

// compileText compiles a schema that is no part of a file.
func compileText(ps *document.Problems, text []byte, o schema.Options) (*document.Node, *schema.Schema) {
	n := document.ParseJSON(ps, text)
	if n == nil {
		return nil, nil
	}
	return n, schema.Compile(ps, n, "/input_schema", o)
}

// applyDefaults fills in what is not said.
func (m *Manifest) applyDefaults() {
	if strings.TrimSpace(m.Description) == "" {
		m.Description = m.Name
	}
	if len(m.InputSchema) == 0 {
		m.InputSchema = json.RawMessage(`{"type":"object"}`)
	}
	if m.Deadline == 0 {
		m.Deadline, m.DeadlineText = DefaultDeadline, defaultDeadlineText
	}
	if m.DeadlineText == "" {
		m.DeadlineText = m.Deadline.String()
	}
	if m.MaxResultBytes == 0 {
		m.MaxResultBytes = DefaultMaxResultBytes
	}
	if m.Kind == "" {
		m.Kind = "go"
	}
}

// newTool makes a tool of a manifest and its compiled schema, which was written as n; nil
// where there is no schema or something is wrong, which goes to ps.
func newTool(ps *document.Problems, m Manifest, n *document.Node, s *schema.Schema) *Tool {
	m.applyDefaults()
	if err := standard().form.Expect("name", m.Name); err != nil {
		ps.Add("name: %v (%d characters)", err, utf8.RuneCountInString(m.Name))
	}
	if strings.ContainsRune(m.Description, 0) {
		ps.Add("description: expected text without the character NUL")
	}
	if m.Deadline < 0 || m.Concurrency < 0 || m.MaxResultBytes < 0 {
		ps.Add("expected no number below zero")
	}
	if s == nil || len(ps.List) > 0 {
		return nil
	}
	m.InputSchema = n.JSON()
	return &Tool{Manifest: m, schema: s}
}

// Retry is a manifest's retry: how often a call is tried that surely did not run,
// or may be run twice. Its zero value leaves it to whoever runs the call.
type Retry struct {
	// Attempts counts the first one too; 0: not said.
	Attempts int `yaml:"attempts"`
	// Backoff is the wait before the second attempt; it doubles with each. 0: not
	// said.
	Backoff time.Duration `yaml:"backoff"`
}

// UnmarshalText reads what a manifest says: 10/s. The form has its bounds.
func (r *Rate) UnmarshalText(text []byte) error {
	parts := ratePattern.FindStringSubmatch(string(text))
	calls, err := strconv.ParseFloat(parts[1], 64)
	if err != nil || calls <= 0 {
		return fmt.Errorf("expected more than 0 calls, found %s", document.Quote(string(text)))
	}
	*r = Rate{Calls: calls, Per: map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[parts[2]]}
	return nil
}

var ratePattern = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)/(s|m|h)$`)

// A manifestFile reads one file of tools.d.
type manifestFile struct {
	*document.Problems
	opts *Options
	// dir is the folder, absolute.
	dir      string
	top      *document.Node
	warnings []string
}

// read gives the tool of the text, or the group where its tools, or its description and
// schema, are an MCP server's to tell. Both are nil if anything is wrong.
func (f *manifestFile) read(data []byte) (*Tool, *group) {
	f.top = document.ParseYAML(f.Problems, data)
	if len(f.List) > 0 {
		return nil, nil
	}
	if f.top == nil {
		f.top = &document.Node{Line: 1, Column: 1}
	}
	if f.opts.format.form.Check(f.Problems, f.top); len(f.List) > 0 {
		return nil, nil
	}
	var m Manifest
	document.Decode(f.Problems, f.top, "", &m)
	if n := f.top.Get("deadline"); n != nil {
		m.DeadlineText = n.Text
		if m.Deadline <= 0 {
			f.At(n, "/deadline", "expected a duration above zero such as 120s, found %s", document.Quote(n.Text))
		}
	}
	f.checkName(m.Name)
	handler := f.top.Get("handler")
	m.Kind = handler.Keys[0].Text
	cfg := f.config(handler.Items[0], m.Kind)
	n, s := f.schema()
	if len(f.List) > 0 {
		return nil, nil
	}
	// The form lets only what an MCP server has be without.
	if mcp, ok := cfg.(*toolmcp.Config); ok && (n == nil || m.Description == "") {
		return nil, f.group(handler.Items[0], m, n, mcp)
	}
	t := newTool(f.Problems, m, n, s)
	if t == nil {
		return nil, nil
	}
	t.File, t.place, t.said = f.File, f.top.Get("name"), digestOf(f.File, string(f.top.JSON()), string(t.InputSchema))
	f.tell(f.top, t.remarks()...)
	var err error
	t.Handler, err = f.opts.format.kind(m.Kind).make(cfg, f.common(m), f.opts.Dependencies)
	if f.refuse(handler.Items[0], m.Kind, err) {
		return nil, nil
	}
	return t, nil
}

// name is the name that the manifest says; empty where it can't be told.
func (f *manifestFile) name() string {
	if n := f.top.Get("name"); n != nil && n.Kind == document.String {
		return n.Text
	}
	return ""
}

// remarks are what is odd about a tool, and no error.
func (t *Tool) remarks() []string {
	all := slices.Clone(t.schema.Warnings())
	if n := utf8.RuneCountInString(t.Description); n > longDescription {
		all = append(all, fmt.Sprintf("the description has %d characters: each turn of the agent pays for more than %d", n, longDescription))
	}
	return all
}

// tell adds warnings of a place.
func (f *manifestFile) tell(n *document.Node, texts ...string) {
	for _, text := range texts {
		f.warnings = append(f.warnings, fmt.Sprintf("%s:%d:%d: %s", f.File, n.Line, n.Column, text))
	}
}

// checkName warns of a file that is not called like its tool.
func (f *manifestFile) checkName(name string) {
	ext := filepath.Ext(f.File)
	if strings.TrimSuffix(filepath.Base(f.File), ext) != name {
		f.tell(f.top.Get("name"), fmt.Sprintf("the tool is called %q, so its file is expected to be %s%s", name, name, ext))
	}
}

// config reads the configuration of a handler.
func (f *manifestFile) config(n *document.Node, kind string) any {
	cfg := f.opts.format.kind(kind).config()
	document.Decode(f.Problems, n, "/handler/"+kind, cfg)
	switch c := cfg.(type) {
	case *toolmcp.Config:
		if many := n.Get("tools"); many != nil {
			c.All = many.Kind == document.String
			document.Decode(f.Problems, many, "/handler/mcp/tools", &c.Names)
		}
	case *toolnats.Config:
		if subject := n.Get("subject"); subject != nil && c.Queue {
			f.tell(subject, "handler.nats.subject has no effect where queue is true: jobs are on toolhand.jobs.NAME")
		}
	}
	return cfg
}

func (f *manifestFile) common(m Manifest) tools.Common {
	m.applyDefaults()
	return tools.Common{
		Name: m.Name, Dir: f.dir, MaxResultBytes: m.MaxResultBytes, Idempotent: m.Idempotent,
		Log: f.opts.Log, LookupEnv: f.opts.LookupEnv,
	}
}

// refuse tells what is wrong with a handler. A constructor may tell several things at once.
func (f *manifestFile) refuse(n *document.Node, kind string, err error) bool {
	all := []error{err}
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		all = many.Unwrap()
	}
	for _, one := range all {
		if one != nil {
			f.At(n, "/handler/"+kind, "%v", one)
		}
	}
	return err != nil
}

// group makes the group of a manifest of an MCP server's tools. n is the schema of a
// single one, where the manifest has it.
func (f *manifestFile) group(at *document.Node, m Manifest, n *document.Node, cfg *toolmcp.Config) *group {
	g := &group{file: f.File, place: f.top.Get("name"), said: string(f.top.JSON()), cfg: *cfg}
	if !cfg.Group() {
		g.alone = &Manifest{Description: m.Description}
		g.cfg.Names = []string{cmp.Or(cfg.Tool, m.Name)}
		if n != nil {
			g.alone.InputSchema = n.JSON()
		}
	}
	g.template = m
	g.template.applyDefaults()
	var err error
	g.source, err = f.opts.format.group(g.cfg, f.common(m), f.opts.Servers)
	if f.refuse(at, "mcp", err) || len(f.List) > 0 {
		return nil
	}
	return g
}

// schema reads and compiles input_schema, or what is in input_schema_file. The result is
// nil where there is neither, or where something is wrong, which was told.
func (f *manifestFile) schema() (*document.Node, *schema.Schema) {
	o := schema.Options{Dir: f.dir, File: filepath.Join(f.dir, filepath.Base(f.File)), Log: f.opts.Log}
	if n := f.top.Get("assert_formats"); n != nil {
		o.AssertFormats = n.Text == "true"
	}
	file := f.top.Get("input_schema_file")
	if file == nil {
		n := f.top.Get("input_schema")
		if n == nil {
			return nil, nil
		}
		return n, schema.Compile(f.Problems, n, "/input_schema", o)
	}
	rel := filepath.Clean(filepath.FromSlash(file.Text))
	if !filepath.IsLocal(rel) {
		f.At(file, "/input_schema_file", "expected a path within the manifest's folder, found %s", document.Quote(file.Text))
		return nil, nil
	}
	o.File = filepath.Join(f.dir, rel)
	data, err := document.ReadFile(o.File)
	if err != nil {
		f.At(file, "/input_schema_file", "%s: %s", document.Quote(rel), err)
		return nil, nil
	}
	other := &document.Problems{File: filepath.Join(filepath.Dir(f.File), rel)}
	var s *schema.Schema
	n := document.Parse(other, rel, data)
	switch {
	case n != nil:
		s = schema.Compile(other, n, "", o)
	case len(other.List) == 0:
		other.Add("expected a JSON Schema, found nothing")
	}
	f.List = append(f.List, other.List...)
	return n, s
}

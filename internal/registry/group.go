package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"toolhand/internal/document"
	"toolhand/internal/schema"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	toolmcp "toolhand/internal/tools/mcp"
)

// A group is a manifest whose tools, or the description and schema of its one tool, are an
// MCP server's to tell. It is immutable; what its server lists is asked for each time that a
// set is assembled.
type group struct {
	// template is what the manifest says of each of the tools.
	template Manifest
	// alone, where the manifest is of one tool, has the description and the schema that
	// it says itself, if any; nil for many tools.
	alone  *Manifest
	cfg    toolmcp.Config
	source *toolmcp.Group
	file   string
	said   string         // all of the manifest
	place  *document.Node // of the name
}

// manifest is that of the tool with this name.
func (g *group) manifest(name string) Manifest {
	m := g.template
	m.Name, m.Description, m.InputSchema = name, "", nil
	if g.alone != nil {
		m.Description, m.InputSchema = g.alone.Description, g.alone.InputSchema
	}
	return m
}

// nameOf is the name of a tool for the agent, by the server's own name.
func (g *group) nameOf(own string) string {
	if g.alone != nil {
		return g.template.Name
	}
	return g.cfg.Prefix + own
}

// mayHave reports whether a tool may be one of the group's.
func (g *group) mayHave(name string) bool {
	if g.cfg.All {
		return strings.HasPrefix(name, g.cfg.Prefix)
	}
	return slices.ContainsFunc(g.cfg.Names, func(own string) bool { return g.nameOf(own) == name })
}

// toldWait is after how much waiting for a server a line says so.
const toldWait = 2 * time.Second

// wait asks the servers of all groups that have listed nothing yet, and waits for them for
// at most that long.
func wait(ctx context.Context, groups []*group, o *Options) {
	if o.Wait <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, o.Wait)
	defer cancel()
	var all sync.WaitGroup
	for _, g := range groups {
		if _, _, err := g.source.Known(); err == nil || o.WaitFor != "" && !g.mayHave(o.WaitFor) {
			continue
		}
		all.Go(func() {
			told := time.AfterFunc(toldWait, func() {
				o.Log.Warn("waiting for an MCP server to list its tools", "file", g.file, "most", o.Wait.String())
			})
			defer told.Stop()
			_ = g.source.List(ctx) // Known tells why not
		})
	}
	all.Wait()
}

// unlisted is a group of all tools of a server that has listed none: nobody knows their
// names.
type unlisted struct {
	group *group
	why   error
	log   *slog.Logger
}

// unlistedTool is a tool of a group whose server has listed nothing yet: a call of it waits
// for that within its deadline.
func (g *group) unlistedTool(name, own string, why error, log *slog.Logger) *Tool {
	t := unavailable(g.manifest(name), g, why)
	t.Handler = unlistedHandler{unreachable{why}, g, name, own, log}
	return t
}

// unlistedHandler waits until the server has listed the tool, and runs it then.
type unlistedHandler struct {
	unreachable
	group     *group
	name, own string
	log       *slog.Logger
}

// Call waits for the list, and runs the tool that is in it.
func (u unlistedHandler) Call(ctx context.Context, call tools.Call) (tools.Result, error) {
	g := u.group
	if err := g.source.List(ctx); err != nil {
		return tools.Result{}, &tools.UnavailableError{Err: err}
	}
	list, _, err := g.source.Known()
	if err != nil {
		return tools.Result{}, &tools.UnavailableError{Err: err}
	}
	i := slices.IndexFunc(list, func(t toolmcp.ServerTool) bool { return t.Name == u.own })
	if i < 0 {
		return tools.Result{}, &tools.UnavailableError{Err: errNoSuchTool}
	}
	values := 0
	a := &assembly{set: &Set{schemas: map[digest]compiled{}}, opts: &Options{Log: u.log}}
	t, err := a.tool(g, list[i], &values)
	if err != nil {
		return tools.Result{}, &tools.UnavailableError{Err: err}
	}
	var invalid *schema.InvalidError
	if err := t.Validate(ctx, call.Input); errors.As(err, &invalid) {
		return content.Error(invalid.Text()), nil
	} else if err != nil {
		return tools.Result{}, &tools.UnavailableError{Err: err}
	}
	return t.Handler.Call(ctx, call)
}

var errNoSuchTool = errors.New("its MCP server has no such tool")

// unavailable is a tool that can't be reached now: its calls are answered with why.
func unavailable(m Manifest, g *group, why error) *Tool {
	m.Description, m.InputSchema, m.Handler = "A tool that is unavailable now.", nil, unreachable{why}
	m.applyDefaults()
	t := &Tool{Manifest: m, schema: anyInput()}
	if g != nil {
		t.File, t.listed = g.file, g
		if g.alone == nil {
			t.Group = g.template.Name
		}
	}
	return t
}

// anyInput is the schema that a tool has which says none.
var anyInput = sync.OnceValue(func() *schema.Schema {
	t, err := NewTool(Manifest{Name: "any", Handler: unreachable{}})
	if err != nil {
		panic(err) // it is ours
	}
	return t.schema
})

// unreachable is the handler of a tool that is unavailable.
type unreachable struct{ why error }

// Call says why.
func (u unreachable) Call(context.Context, tools.Call) (tools.Result, error) {
	return tools.Result{}, &tools.UnavailableError{Err: u.why}
}

// Live says why.
func (u unreachable) Live(context.Context) error { return u.why }

// An assembly makes a set of the folder's own tools and of those of its groups. What a
// server lists and can't be used is a warning and unavailable: it harms nothing else.
type assembly struct {
	set  *Set
	opts *Options
	// had are schemas of the assembly before, which are not compiled again.
	had map[digest]compiled
	// owners has the manifest's file of each name that a manifest says.
	owners map[string]string
}

// compiled is what the schema of a listed tool has come to. It is immutable.
type compiled struct {
	schema *schema.Schema
	node   *document.Node
	err    error
}

// assemble makes a set of a folder's own tools, and of what the servers of its
// groups list now. Of tools of one name the folder's own comes first, then that of a
// manifest which says the name, then what is in force in old, then that of the first
// group. Schemas that are in had are not compiled
// again. Where ctx ends there may be tools missing.
func assemble(ctx context.Context, own []*Tool, groups []*group, opts *Options, old *Set, had map[digest]compiled) *Set {
	a := &assembly{opts: opts, had: had, owners: map[string]string{}}
	a.set = NewSet(own...)
	a.set.own, a.set.groups, a.set.unavailable, a.set.schemas = own, groups, map[string]*Tool{}, map[digest]compiled{}
	for _, t := range own {
		a.owners[t.Name] = t.File
	}
	for _, g := range groups {
		for _, own := range g.cfg.Names {
			if name := g.nameOf(own); a.owners[name] == "" {
				a.owners[name] = g.file
			}
		}
	}
	var listed []*Tool
	for _, g := range groups {
		listed = append(listed, a.toolsOf(ctx, g)...)
	}
	inForce := func(t *Tool) bool {
		return old != nil && old.byName[t.Name] != nil && old.byName[t.Name].File == t.File
	}
	slices.SortStableFunc(listed, func(x, y *Tool) int {
		switch {
		case inForce(x) == inForce(y):
			return 0
		case inForce(x):
			return -1
		}
		return 1
	})
	for _, t := range listed {
		if first := a.set.byName[t.Name]; first != nil {
			a.warnTaken(t.listed, t.Name, first.File)
			continue
		}
		a.set.byName[t.Name] = t
	}
	for name := range a.set.byName {
		delete(a.set.unavailable, name)
	}
	a.atMost(MaxTools)
	return a.set
}

// warnTaken tells of a tool that is left out since its name is another manifest's.
func (a *assembly) warnTaken(g *group, name, file string) {
	a.warn(g, "the name %q of a tool of its MCP server is taken by %s: the tool is left out (prefix gives a group's tools other names)", name, file)
}

// owns reports whether a group may have a tool of this name: names that manifests say are
// theirs, whether their servers are there or not, before those that servers list.
func (a *assembly) owns(g *group, name string) bool {
	return a.owners[name] == "" || a.owners[name] == g.file
}

// atMost makes what is beyond the first tools unavailable: tools with a name in a manifest
// come before those that only a server lists, and then the order is that of the names.
func (a *assembly) atMost(most int) {
	a.set.sort()
	if len(a.set.sorted) <= most {
		return
	}
	ranked := slices.Clone(a.set.sorted)
	slices.SortStableFunc(ranked, func(x, y *Tool) int {
		return cmp.Compare(min(len(a.owners[y.Name]), 1), min(len(a.owners[x.Name]), 1))
	})
	rest := ranked[most:]
	why := fmt.Errorf("expected at most %d tools, which is what an agent may have, found %d", most, len(ranked))
	a.set.warnings = append(a.set.warnings, fmt.Sprintf("%v: those from %s to %s, by name, are unavailable", why, rest[0].Name, rest[len(rest)-1].Name))
	for _, t := range rest {
		delete(a.set.byName, t.Name)
		left := unavailable(t.Manifest, t.listed, why)
		left.File = t.File
		a.set.unavailable[t.Name] = left
	}
	a.set.sort()
}

func (a *assembly) warn(g *group, format string, args ...any) {
	a.set.warnings = append(a.set.warnings, fmt.Sprintf("%s:%d:%d: %s", g.file, g.place.Line, g.place.Column, fmt.Sprintf(format, args...)))
}

// without notes a tool of a group that is unavailable, and why.
func (a *assembly) without(g *group, own string, why error) {
	a.warn(g, "the tool %s of its MCP server is unavailable: %v", document.Quote(own), why)
	name := g.nameOf(own)
	if standard().form.Expect("name", name) == nil && a.owns(g, name) {
		a.set.unavailable[name] = unavailable(g.manifest(name), g, why)
	}
}

// toolsOf makes the tools of a group, as far as its server has listed them.
func (a *assembly) toolsOf(ctx context.Context, g *group) (made []*Tool) {
	list, missing, err := g.source.Known()
	if err != nil && g.cfg.All {
		a.set.unlisted = append(a.set.unlisted, unlisted{g, err, a.opts.Log})
		return nil
	}
	if err != nil {
		for _, own := range g.cfg.Names {
			if name := g.nameOf(own); a.owns(g, name) {
				a.set.unavailable[name] = g.unlistedTool(name, own, err, a.opts.Log)
			}
		}
		return nil
	}
	malformed := map[string]string{}
	for _, p := range g.source.Problems() {
		if p.Tool == "" {
			a.warn(g, "the list of its MCP server: %s", p.Text)
			continue
		}
		malformed[p.Tool] = p.Text
		a.without(g, p.Tool, errors.New(p.Text))
	}
	for _, own := range missing {
		if _, told := malformed[own]; !told {
			a.without(g, own, errNoSuchTool)
		}
	}
	values := 0
	for _, listed := range list {
		if ctx.Err() != nil {
			return made
		}
		if name := g.nameOf(listed.Name); !a.owns(g, name) {
			a.warnTaken(g, name, a.owners[name])
			continue
		}
		t, err := a.tool(g, listed, &values)
		switch {
		case err != nil:
			a.without(g, listed.Name, err)
		case slices.ContainsFunc(made, func(other *Tool) bool { return other.Name == t.Name }):
			a.warn(g, "the tool %s of its MCP server is listed twice: the first one counts", document.Quote(listed.Name))
		default:
			made = append(made, t)
			for _, text := range t.remarks() {
				a.warn(g, "the tool %s of its MCP server: %s", document.Quote(listed.Name), text)
			}
		}
	}
	return made
}

// tool makes one tool of the group. values counts those in the schemas of the group's
// tools so far.
func (a *assembly) tool(g *group, listed toolmcp.ServerTool, values *int) (*Tool, error) {
	m := g.manifest(g.nameOf(listed.Name))
	m.Description = cmp.Or(m.Description, listed.Description, listed.Title, listed.Name)
	if len(m.InputSchema) == 0 {
		m.InputSchema = listed.InputSchema
	}
	if err := standard().form.Expect("name", m.Name); err != nil {
		return nil, fmt.Errorf("name: %w", err) // before its schema costs anything
	}
	if len(m.InputSchema) == 0 {
		return nil, errors.New("input_schema: expected a JSON Schema, and the server sends none")
	}
	switch n := countValues(string(m.InputSchema)); {
	case n > maxSchemaValues:
		return nil, fmt.Errorf("input_schema: expected at most about %d values, found %d", maxSchemaValues, n)
	case *values+n > maxGroupValues:
		return nil, fmt.Errorf("input_schema: expected at most about %d values in those of all tools of the server together", maxGroupValues)
	default:
		*values += n
	}
	c := a.compile(g, m)
	if c.err != nil {
		return nil, c.err
	}
	ps := &document.Problems{}
	t := newTool(ps, m, c.node, c.schema)
	if t == nil {
		return nil, errors.New(ps.First())
	}
	t.File, t.listed, t.Handler = g.file, g, g.source.Handler(listed.Name)
	t.said = digestOf(g.file, g.said, m.Description, string(m.InputSchema))
	if g.alone == nil {
		t.Group = g.template.Name
	}
	return t, nil
}

// compile compiles the schema of a tool of a group, unless that was done before. Two
// tools share none, as the checks of inputs take turns at one.
func (a *assembly) compile(g *group, m Manifest) compiled {
	d := digestOf(g.file, m.Name, fmt.Sprint(m.AssertFormats), string(m.InputSchema))
	c, there := a.set.schemas[d]
	if !there {
		c, there = a.had[d]
	}
	if !there {
		ps := &document.Problems{}
		c.node, c.schema = compileText(ps, m.InputSchema, schema.Options{AssertFormats: m.AssertFormats, Log: a.opts.Log})
		if text := ps.First(); text != "" {
			c = compiled{err: errors.New(text)}
		}
	}
	a.set.schemas[d] = c
	return c
}

// Missing says which groups of tools have not been listed, one error a group: its
// manifest, and why not.
func (s *Set) Missing() (all []error) {
	for _, g := range s.groups {
		if _, _, err := g.source.Known(); err != nil {
			all = append(all, fmt.Errorf("%s: the tools of the group %q are not known: %w", g.file, g.template.Name, err))
		}
	}
	return all
}

// Groups is how many manifests are groups of tools.
func (s *Set) Groups() int { return len(s.groups) }

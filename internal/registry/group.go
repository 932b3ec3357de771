package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"toolhand/internal/tools"
	toolmcp "toolhand/internal/tools/mcp"
)

// A group is a manifest of many tools of one MCP server. It is immutable; what
// its server lists is asked for each time that a set is assembled.
type group struct {
	// template holds what the manifest says of each of the tools.
	template Tool
	cfg      toolmcp.Config
	source   *toolmcp.Group
	// line and column are the place of the key tools.
	line, column int
}

// ask asks the servers of all groups that have listed nothing yet, and waits for
// them for at most wait.
func ask(ctx context.Context, groups []*group, wait time.Duration) {
	if wait <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var all sync.WaitGroup
	for _, g := range groups {
		if _, _, err := g.source.Known(); err != nil {
			all.Go(func() { _ = g.source.List(ctx) }) // Known tells why not
		}
	}
	all.Wait()
}

// An absence is a group, or some of it, that calls can't reach.
type absence struct {
	group *group
	names []string // the server's own; nil: all that the group asks for
	why   error
}

// covers reports whether a name is one of those that can't be reached.
func (a absence) covers(name string) bool {
	own, ok := strings.CutPrefix(name, a.group.cfg.Prefix)
	if !ok {
		return false
	}
	if a.names != nil {
		return slices.Contains(a.names, own)
	}
	return a.group.cfg.All || slices.Contains(a.group.cfg.Names, own)
}

// tool is one that answers each call with why it can't be reached.
func (a absence) tool(name string) *Tool {
	t := a.group.template
	t.Name, t.Group, t.Handler = name, t.Name, unreachable{a.why}
	t.Description = "A tool of an MCP server that is away."
	t.InputSchema = json.RawMessage(`{"type":"object"}`)
	ps := &problems{}
	t.schema = compileSchema(ps, parseJSON(ps, t.InputSchema), schemaHome{})
	return &t
}

// unreachable is the handler of a tool that is not there.
type unreachable struct{ why error }

// Call says why.
func (u unreachable) Call(context.Context, tools.Call) (tools.Result, error) {
	return tools.Result{}, &tools.UnavailableError{Err: u.why}
}

// Live says why.
func (u unreachable) Live(context.Context) error { return u.why }

// An assembly makes a set of the folder's own tools and of those of its groups.
type assembly struct {
	problems
	byName   map[string]*Tool
	list     []*Tool
	absences []absence
	warnings []string
	old      *Set
	forgiven []Problem
	// had are schemas of the assembly before, which are not compiled again, and schemas
	// those of this one.
	had, schemas map[digest]compiled
}

// compiled is what the schema of a listed tool has come to. It is immutable.
type compiled struct {
	schema *schema
	text   json.RawMessage
	err    error
}

// assemble makes a set of a folder's own tools, and of what the servers of its
// groups list now. Of tools of one name the folder's own comes first, then what is
// in force in old, then the first group; the others are problems, as is a tool that
// is asked for by name and can't be had. Some of them are forgiven. Schemas that are in
// had are not compiled again. Where ctx ends there may be tools missing.
func assemble(ctx context.Context, own []*Tool, groups []*group, old *Set, had map[digest]compiled) (set *Set, wrong, forgiven []Problem) {
	a := &assembly{byName: map[string]*Tool{}, old: old, had: had, schemas: map[digest]compiled{}}
	for _, t := range own {
		a.byName[t.Name] = t
		a.list = append(a.list, t)
	}
	made := make([][]*Tool, len(groups))
	for i, g := range groups {
		made[i] = a.toolsOf(ctx, g)
	}
	inForce := func(t *Tool) bool {
		if old == nil {
			return false
		}
		before := old.byName[t.Name]
		return before != nil && before.Group == t.Group
	}
	for _, first := range []bool{true, false} {
		for i, g := range groups {
			for _, t := range made[i] {
				if inForce(t) == first {
					a.add(g, t)
				}
			}
		}
	}
	set = NewSet(a.list...)
	set.warnings, set.absences, set.groups, set.schemas = a.warnings, a.absences, groups, a.schemas
	if len(a.list) > MaxTools {
		a.file = a.list[len(a.list)-1].File
		a.problems.add(0, 0, fmt.Sprintf("expected at most %d tools, which is what an agent may have, found %d", MaxTools, len(set.sorted)))
	}
	return set, a.problems.list, a.forgiven
}

// add takes a tool into the set, if its name is free.
func (a *assembly) add(g *group, t *Tool) {
	switch first := a.byName[t.Name]; {
	case first == nil:
		a.byName[t.Name] = t
		a.list = append(a.list, t)
	case first.Group == t.Group:
		a.skip(g, t.Name, errors.New("the server lists it twice"))
	default:
		a.problem(g, fmt.Sprintf("the name %q of a tool of the group %q is taken by %s: expected each name once (prefix gives the group's tools other names)", t.Name, t.Group, first.File), first)
	}
}

// problem tells of a tool of a group that can't be had. before is the tool that
// has its name, if that is why.
func (a *assembly) problem(g *group, text string, before *Tool) {
	if a.forgives(g, before) {
		a.forgiven = append(a.forgiven, Problem{File: g.template.File, Line: g.line, Column: g.column, Text: text})
		return
	}
	a.file = g.template.File
	a.problems.add(g.line, g.column, text)
}

// forgives reports whether a problem has come by a change of the server alone: the
// group was in force as it is, and so was the tool that has the name. No manifest
// is wrong then, and a server harms its own tools only: what is in force stays.
func (a *assembly) forgives(g *group, before *Tool) bool {
	if a.old == nil || !slices.ContainsFunc(a.old.groups, g.same) {
		return false
	}
	if before == nil {
		return true
	}
	was := a.old.byName[before.Name]
	return was != nil && was.Group == before.Group && was.File == before.File
}

// same reports whether two manifests ask the same of a server.
func (g *group) same(other *group) bool {
	return g.template.Name == other.template.Name && g.cfg.All == other.cfg.All && g.cfg.Prefix == other.cfg.Prefix &&
		slices.Equal(g.cfg.Names, other.cfg.Names) && g.source.Same(other.source)
}

func (a *assembly) skip(g *group, name string, why error) {
	a.warnings = append(a.warnings, fmt.Sprintf("%s:%d:%d: the tool %s of the MCP server is left out: %s", g.template.File, g.line, g.column, quoteShort(name), why))
}

// toolsOf makes the tools of a group, as far as its server has listed them.
func (a *assembly) toolsOf(ctx context.Context, g *group) []*Tool {
	list, missing, err := g.source.Known()
	if err != nil {
		a.absences = append(a.absences, absence{group: g, why: err})
		return nil
	}
	var made []*Tool
	values := 0
	for _, listed := range list {
		if ctx.Err() != nil {
			return made
		}
		t, err := a.tool(g, listed, &values)
		switch {
		case err == nil:
			made = append(made, t)
		case g.cfg.All:
			a.skip(g, listed.Name, err)
		default:
			missing = append(missing, listed.Name)
			a.problem(g, fmt.Sprintf("handler.mcp.tools: the tool %s of the MCP server can't be used: %s", quoteShort(listed.Name), err), nil)
		}
	}
	if len(missing) > 0 {
		a.absences = append(a.absences, absence{group: g, names: missing, why: errors.New("its MCP server has no such tool that can be used")})
	}
	for _, name := range missing {
		if !slices.ContainsFunc(list, func(t toolmcp.ServerTool) bool { return t.Name == name }) {
			a.problem(g, fmt.Sprintf("handler.mcp.tools: the MCP server has no tool %s", quoteShort(name)), nil)
		}
	}
	return made
}

// tool makes one tool of the group, checked as one of a manifest is. values counts
// those in the schemas of the group's tools so far.
func (a *assembly) tool(g *group, listed toolmcp.ServerTool, values *int) (*Tool, error) {
	t := g.template
	t.Name, t.Group, t.Description = g.cfg.Prefix+listed.Name, t.Name, listed.Description
	if err := checkName(t.Name); err != nil {
		return nil, fmt.Errorf("name: %w", err)
	}
	if err := checkDescription(t.Description); err != nil {
		return nil, fmt.Errorf("description: %w", err)
	}
	if len(listed.InputSchema) == 0 {
		return nil, errors.New("input_schema: expected a JSON Schema, and the server sends none")
	}
	switch n := countValues(string(listed.InputSchema)); {
	case n > maxSchemaValues:
		return nil, fmt.Errorf("input_schema: expected at most about %d values, found %d", maxSchemaValues, n)
	case *values+n > maxGroupValues:
		return nil, fmt.Errorf("input_schema: expected at most about %d values in those of all tools of the server together", maxGroupValues)
	default:
		*values += n
	}
	c := a.compiled(&t, listed.InputSchema)
	if c.err != nil {
		return nil, c.err
	}
	t.schema, t.InputSchema = c.schema, c.text
	t.Handler = g.source.Handler(listed.Name)
	return &t, nil
}

// compiled is the schema of a tool of a group, compiled unless that was done before. Two
// tools share none, as the checks of inputs take turns at one.
func (a *assembly) compiled(t *Tool, text []byte) compiled {
	d := digestOf(t.Group, t.Name, string(text))
	c, there := a.schemas[d]
	if !there {
		c, there = a.had[d]
	}
	if !there {
		c = compileListed(text)
	}
	a.schemas[d] = c
	return c
}

func compileListed(text []byte) (c compiled) {
	ps := &problems{file: "input_schema"}
	n := parseJSON(ps, text)
	if n != nil {
		c.schema = compileSchema(ps, n, schemaHome{})
	}
	if len(ps.list) > 0 {
		return compiled{err: fmt.Errorf("input_schema: %s", ps.sorted()[0].Text)}
	}
	c.text = n.json()
	return c
}

// Missing says which groups of tools have not been listed, one error a group: its
// manifest, and why not.
func (s *Set) Missing() []error {
	var all []error
	for _, a := range s.absences {
		all = append(all, fmt.Errorf("%s: the tools of the group %q are not known: %w", a.group.template.File, a.group.template.Name, a.why))
	}
	return all
}

// Groups is how many manifests are groups of tools.
func (s *Set) Groups() int { return len(s.groups) }

// absent finds the tool that stands for one of a server that is away. Of several
// groups that may be meant, the one with the longest prefix is.
func (s *Set) absent(name string) (*Tool, bool) {
	var found *absence
	for _, a := range s.absences {
		if a.covers(name) && (found == nil || len(a.group.cfg.Prefix) > len(found.group.cfg.Prefix)) {
			found = &a
		}
	}
	if found == nil {
		return nil, false
	}
	return found.tool(name), true
}

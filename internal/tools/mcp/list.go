package mcp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidwall/gjson"

	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

const (
	// listBound is how long a listing may take that nobody waits for.
	listBound = 2 * time.Minute
	// listEvery is how often a server at a URL is asked for its tools: without a
	// stream that stays open it can't tell us that they have changed.
	listEvery = time.Minute
	// listPause lies between being told that the tools have changed, as a server may
	// say without end, and listing them.
	listPause = 250 * time.Millisecond
	// listBurst is how many lists within listWindow have that pause alone; the next
	// ones have listSlow.
	listBurst  = 20
	listWindow = time.Minute
	listSlow   = 5 * time.Second
	// freshValues bounds what a server may change in freshWindow, in values of the
	// schemas that are new: each of them is compiled, which takes up to 0.2 s for 5,000
	// values. A list in a window without another change is taken whatever it has.
	freshValues = 100_000
	freshWindow = time.Minute
	// maxListed, in entries, and maxPages bound what is read of what a server lists, as
	// maxFrame does. Each entry counts, also one that is no tool.
	maxListed = 2000
	maxPages  = 200
	// maxProblems bounds the entries of a list of which each is told what is wrong with it.
	maxProblems = 20
)

// A ServerTool is a tool as an MCP server describes it.
type ServerTool struct {
	// Name is the server's own. It is not empty.
	Name string
	// Title is the tool's name for people. It may be empty, as Description may be,
	// which is of any length.
	Title, Description string
	// InputSchema is JSON as the server wrote it, an object; empty: it wrote none.
	InputSchema json.RawMessage
}

// A Problem is what is wrong with a list of tools, of which the rest is used.
type Problem struct {
	// Tool is the name of the tool that is left out, or what stands in its place. Empty:
	// the problem is the list's.
	Tool string
	Text string
}

// Group is many tools of one MCP server, or one. It may be used by anybody.
type Group struct {
	server *server
	names  []string // nil: all
	common tools.Common
}

// NewGroup makes the group of a config: of many tools where it asks for them, else of its
// one tool. So whoever has no description or schema of that tool asks for it here: after
// [Group.List], or [Servers.Keep], [Group.Known] has it, and [Group.Handler] is what
// [New] makes. NewGroup checks what [New] does.
func NewGroup(cfg Config, common tools.Common, servers *Servers) (*Group, error) {
	s, err := serverOf(cfg, common, servers)
	if err != nil {
		return nil, err
	}
	g := &Group{server: s, common: common}
	switch {
	case cfg.All:
	case len(cfg.Names) > 0:
		g.names = cfg.Names
	default:
		g.names = []string{cmp.Or(cfg.Tool, common.Name)}
	}
	return g, nil
}

// Known is what the server has listed last, of what the group asks for; missing
// are the names among it that the server does not have, or not so that they can be used
// (see Problems). The error says why nothing is known yet.
func (g *Group) Known() (list []ServerTool, missing []string, err error) {
	all, err := g.server.listed()
	if err != nil || g.names == nil {
		return all, nil, err
	}
	for _, name := range g.names {
		if i := slices.IndexFunc(all, func(t ServerTool) bool { return t.Name == name }); i >= 0 {
			list = append(list, all[i])
		} else {
			missing = append(missing, name)
		}
	}
	return list, missing, nil
}

// Problems are those of what the server has listed last, as far as they concern the
// group.
func (g *Group) Problems() []Problem {
	g.server.mu.Lock()
	defer g.server.mu.Unlock()
	if g.names == nil {
		return g.server.problems
	}
	return slices.DeleteFunc(slices.Clone(g.server.problems), func(p Problem) bool {
		return p.Tool != "" && !slices.Contains(g.names, p.Tool)
	})
}

// Same reports whether two groups are of one server.
func (g *Group) Same(other *Group) bool { return g.server == other.server }

// List asks the server, which is started where it must be, for its tools; Known
// tells of them afterwards. It waits until ctx ends.
func (g *Group) List(ctx context.Context) error {
	return g.server.list(ctx)
}

// Handler makes the handler of one of the group's tools, by the server's own name.
func (g *Group) Handler(tool string) tools.Handler {
	return &handler{server: g.server, tool: tool, max: g.common.MaxResultBytes, log: g.common.Logger()}
}

// listAgain has the tools listed anew where somebody follows them.
func (s *server) listAgain() {
	select {
	case s.relist <- struct{}{}:
	default:
	}
}

// followTools keeps the list of tools fresh: it is asked for when the server is
// there, when it says that it has changed, after each new start and each reload,
// and at a URL now and then; with growing pauses while there is no answer.
func (s *server) followTools(ctx context.Context) {
	var wait pauses
	var since time.Time // of the window
	lists := 0          // in it
	for ctx.Err() == nil {
		c, err := s.acquire(ctx)
		if err == nil {
			bounded, cancel := context.WithTimeout(ctx, listBound)
			err = s.listOver(bounded, c)
			cancel()
			s.release(c)
		}
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(wait.next()):
			}
			continue
		}
		wait = pauses{}
		var later <-chan time.Time
		if wait := s.held(); wait > 0 {
			later = time.After(wait)
		} else if s.endpoint.path == "" {
			later = time.After(listEvery)
		}
		select {
		case <-ctx.Done():
		case <-c.ctx.Done():
		case <-s.relist:
			if time.Since(since) > listWindow {
				since, lists = time.Now(), 0
			}
			pause := listPause
			if lists++; lists > listBurst {
				pause = listSlow
			}
			// What follows within the pause is seen by the same list.
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			select {
			case <-s.relist:
			default:
			}
		case <-later:
		}
	}
}

// list asks for all tools and takes note of them; where a session is forgotten, in a new
// one.
func (s *server) list(ctx context.Context) error {
	for again := false; ; again = true {
		c, err := s.acquire(ctx)
		if err != nil {
			return err
		}
		err = s.listOver(ctx, c)
		s.release(c)
		if again || !errors.Is(err, errForgotten) {
			return err
		}
	}
}

// listOver does so over one connection. Where there is too much, or the pages repeat
// themselves, what was read is used.
func (s *server) listOver(ctx context.Context, c *client) error {
	l, asked := listing{had: map[string]bool{}}, map[string]bool{}
	for cursor := ""; len(asked) == 0 || cursor != ""; {
		page, err := s.page(ctx, c, cursor)
		if err != nil {
			return s.listFailed(err)
		}
		asked[cursor] = true
		next := page.Get("nextCursor").String()
		more := l.add(page)
		if !more || asked[next] && next != "" || next != "" && len(asked) == maxPages {
			l.cut = fmt.Sprintf("the server's list of tools repeats itself, or has more than %d entries, %d pages or %d bytes: the first %d tools are used", maxListed, maxPages, maxFrame, len(l.tools))
			break
		}
		cursor = next
	}
	s.setTools(l.tools, l.problems())
	return nil
}

// A listing is what was read of a list of tools.
type listing struct {
	tools   []ServerTool
	had     map[string]bool // by name
	entries int             // read, whatever they were
	size    int             // of the pages, in bytes
	wrong   []Problem       // the first maxProblems
	more    int             // the others
	cut     string          // why not all of the list was read; empty: it was
}

// add reads a page. It reports whether the next one is of use.
func (l *listing) add(page gjson.Result) bool {
	l.size += len(page.Raw)
	before, tools, fits := len(l.tools), false, true
	page.Get("tools").ForEach(func(_, one gjson.Result) bool {
		if fits = l.entries < maxListed; !fits {
			return false
		}
		l.entries++
		t, why := toolOf(one)
		switch {
		case why != "":
			l.problem(one, why)
			return true
		case !l.had[t.Name]: // of two, the first
			l.had[t.Name], l.tools = true, append(l.tools, t)
		}
		tools = true
		return true
	})
	return fits && l.size <= maxFrame && !(tools && len(l.tools) == before)
}

// problem takes note of an entry that is no tool.
func (l *listing) problem(one gjson.Result, why string) {
	if len(l.wrong) == maxProblems {
		l.more++
		return
	}
	name := one.Get("name")
	l.wrong = append(l.wrong, Problem{Tool: short(cmp.Or(name.Str, name.Raw, one.Raw)), Text: why})
}

// problems are what is wrong with the list.
func (l *listing) problems() []Problem {
	all := l.wrong
	if l.more > 0 {
		all = append(all, Problem{Text: fmt.Sprintf("%d more entries can't be used", l.more)})
	}
	if l.cut != "" {
		all = append(all, Problem{Text: l.cut})
	}
	return all
}

// listed is what was listed last, or why nothing was yet.
func (s *server) listed() ([]ServerTool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.known:
		return s.tools, nil
	case s.lastErr != nil:
		return nil, s.lastErr
	case s.attempt != nil:
		c := s.attempt.client
		return nil, c.unanswered("initialize", time.Since(c.begun), nil)
	}
	return nil, errors.New("its MCP server has not listed its tools yet")
}

// setTools takes note of a list. Where too much of it is new in this window, what was
// listed before stays, and the tools are listed again when the window is over.
func (s *server) setTools(all []ServerTool, wrong []Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known && slices.EqualFunc(s.tools, all, ServerTool.equal) && slices.Equal(s.problems, wrong) {
		s.changeHeld = false
		return
	}
	if time.Since(s.windowBegin) >= s.owner.freshWindow {
		s.windowBegin, s.windowValues = time.Now(), 0
	}
	n := changed(s.tools, all, s.owner.freshValues)
	if n > 0 && s.windowValues > 0 && s.windowValues+n > s.owner.freshValues {
		if !s.changeHeld {
			s.log.Warn("the tools of an MCP server change too much: a change of them waits", "again_in", time.Until(s.windowBegin.Add(s.owner.freshWindow)).Round(time.Millisecond).String())
		}
		s.changeHeld = true
		return
	}
	s.windowValues += n
	s.tools, s.problems, s.known, s.changeHeld = all, wrong, true, false
	select {
	case s.owner.changed <- struct{}{}:
	default:
	}
}

// held is how long a change of the tools has to wait; 0: none does.
func (s *server) held() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.changeHeld {
		return 0
	}
	return max(time.Until(s.windowBegin.Add(s.owner.freshWindow)), time.Millisecond)
}

func (t ServerTool) equal(other ServerTool) bool {
	return t.Name == other.Name && t.Title == other.Title && t.Description == other.Description && bytes.Equal(t.InputSchema, other.InputSchema)
}

// changed is about how many values the schemas have that are new in a list, and one more
// for each. Of a list with more than most who takes it may leave some out: before or after
// one all of a list counts as new.
func changed(before, now []ServerTool, most int) (n int) {
	had, was, is := make(map[string][]byte, len(before)), 0, 0
	for _, t := range before {
		had[t.Name] = t.InputSchema
		was += t.values()
	}
	for _, t := range now {
		is += t.values()
		if schema, there := had[t.Name]; !there || !bytes.Equal(schema, t.InputSchema) {
			n += t.values()
		}
	}
	if was > most || is > most {
		return is
	}
	return n
}

// values is about how many values the schema has, found without reading it, and one more.
func (t ServerTool) values() int {
	return 1 + bytes.Count(t.InputSchema, []byte("{")) + bytes.Count(t.InputSchema, []byte("[")) + bytes.Count(t.InputSchema, []byte(","))
}

// listFailed takes note of why the tools of a server that is there are not known.
func (s *server) listFailed(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastErr = err
	return err
}

// page asks for one page of the tools.
func (s *server) page(ctx context.Context, c *client, cursor string) (page gjson.Result, err error) {
	params, begun := map[string]any{}, time.Now()
	if cursor != "" {
		params["cursor"] = cursor
	}
	answer, err := c.ask(ctx, &request{method: "tools/list", params: params})
	var failed *requestError
	switch {
	case errors.As(err, &failed) && (c.forgets(failed) || c.doubts(ctx, failed)):
		return page, errForgotten
	case err != nil && ctx.Err() != nil:
		return page, c.unanswered("tools/list", time.Since(begun), context.Cause(ctx))
	case err != nil:
		return page, refused("its tools can't be listed", err)
	}
	page = gjson.ParseBytes(answer)
	if !page.Get("tools").IsArray() {
		return page, errors.New("its tools can't be listed: the server answers tools/list without an array \"tools\"")
	}
	return page, nil
}

// toolOf reads one tool, or says why it can't be used. What can be done without is
// nothing where it is no text.
func toolOf(t gjson.Result) (tool ServerTool, wrong string) {
	name, schema := t.Get("name"), t.Get("inputSchema")
	switch {
	case !t.IsObject():
		return tool, "expected an object, found " + found(t)
	case name.Type != gjson.String || name.Str == "":
		return tool, "name: expected a string that is not empty, found " + found(name)
	case schema.Type != gjson.Null && !schema.IsObject():
		return tool, "inputSchema: expected an object, found " + found(schema)
	case schema.Type != gjson.Null:
		tool.InputSchema = json.RawMessage(schema.Raw)
	}
	tool.Name, tool.Description = name.Str, t.Get("description").Str
	tool.Title = cmp.Or(t.Get("title").Str, t.Get("annotations.title").Str)
	return tool, ""
}

// found is what stands where something else is expected.
func found(v gjson.Result) string { return short(cmp.Or(v.Raw, "nothing")) }

func short(text string) string { return string(content.CutAfter([]byte(text), 200)) }

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

	"toolhand/internal/tools"
)

const (
	// listBound is how long one listing may take, the start of the server included.
	listBound = 30 * time.Second
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
	// maxListed and maxPages bound what a server may list.
	maxListed = 2000
	maxPages  = 200
)

// A ServerTool is a tool as an MCP server describes it.
type ServerTool struct {
	// Name is the server's own.
	Name string
	// Description may be empty.
	Description string
	// InputSchema is JSON as the server wrote it.
	InputSchema json.RawMessage
}

// Group is many tools of one MCP server. It may be used by anybody.
type Group struct {
	server *server
	names  []string // nil: all
	common tools.Common
}

// NewGroup makes the group of a config that asks for one. It checks what
// [New] does.
func NewGroup(cfg Config, common tools.Common, servers *Servers) (*Group, error) {
	s, err := serverOf(cfg, common, servers)
	if err != nil {
		return nil, err
	}
	g := &Group{server: s, common: common}
	if !cfg.All {
		g.names = cfg.Names
	}
	return g, nil
}

// Known is what the server has listed last, of what the group asks for; missing
// are the names among it that the server does not have. The error says why
// nothing is known yet.
func (g *Group) Known() (list []ServerTool, missing []string, err error) {
	g.server.mu.Lock()
	all, known, why := g.server.tools, g.server.known, g.server.lastErr
	g.server.mu.Unlock()
	if !known {
		return nil, nil, cmp.Or(why, errors.New("its MCP server has not listed its tools yet"))
	}
	if g.names == nil {
		return all, nil, nil
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

// Same reports whether two groups are of one server.
func (g *Group) Same(other *Group) bool { return g.server == other.server }

// List asks the server, which is started where it must be, for its tools; Known
// tells of them afterwards.
func (g *Group) List(ctx context.Context) error {
	_, err := g.server.list(ctx)
	return err
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
		bounded, cancel := context.WithTimeout(ctx, listBound)
		c, err := s.list(bounded)
		cancel()
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

// list asks for all tools and takes note of them. It returns the connection that
// they came by.
func (s *server) list(ctx context.Context) (*client, error) {
	c, err := s.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer s.release()
	var all []ServerTool
	cursor, size := "", 0
	for page := 0; page == 0 || cursor != ""; page++ {
		if page == maxPages || len(all) > maxListed || size > maxFrame {
			return nil, s.listFailed(fmt.Errorf("the server lists more than %d tools, or %d pages or %d bytes of them", maxListed, maxPages, maxFrame))
		}
		var some []ServerTool
		if some, cursor, err = s.page(ctx, c, cursor); err != nil {
			return nil, s.listFailed(fmt.Errorf("its tools can't be listed: %w", err))
		}
		for _, t := range some {
			size += len(t.Name) + len(t.Description) + len(t.InputSchema)
		}
		all = append(all, some...)
	}
	s.setTools(all)
	return c, nil
}

// listed is what was listed last.
func (s *server) listed() []ServerTool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tools
}

// setTools takes note of a list. Where too much of it is new in this window, what was
// listed before stays, and the tools are listed again when the window is over.
func (s *server) setTools(all []ServerTool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known && slices.EqualFunc(s.tools, all, ServerTool.equal) {
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
	s.tools, s.known, s.changeHeld = all, true, false
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
	return t.Name == other.Name && t.Description == other.Description && bytes.Equal(t.InputSchema, other.InputSchema)
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
func (s *server) page(ctx context.Context, c *client, cursor string) (list []ServerTool, next string, err error) {
	params := map[string]any{}
	if cursor != "" {
		params["cursor"] = cursor
	}
	answer, err := c.ask(ctx, &request{method: "tools/list", params: params})
	if err != nil {
		var failed *requestError
		if errors.As(err, &failed) {
			c.suspect(failed)
		}
		return nil, "", err
	}
	var page struct {
		Tools []struct {
			Name        string          `json:"name"`
			Title       string          `json:"title"`
			Description string          `json:"description"`
			InputSchema json.RawMessage `json:"inputSchema"`
		} `json:"tools"`
		NextCursor string `json:"nextCursor"`
	}
	if err := json.Unmarshal(answer, &page); err != nil {
		return nil, "", err
	}
	for _, t := range page.Tools {
		list = append(list, ServerTool{Name: t.Name, Description: cmp.Or(t.Description, t.Title), InputSchema: t.InputSchema})
	}
	return list, page.NextCursor, nil
}

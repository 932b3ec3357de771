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

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

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
// NewMCP does.
func NewGroup(cfg Config, common tools.Common, servers *Servers) (*Group, error) {
	e, err := endpointOf(cfg, common)
	if err != nil {
		return nil, err
	}
	g := &Group{server: servers.server(e), common: common}
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
	all, known, why := g.server.tools, g.server.known, g.server.why
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
	case s.again <- struct{}{}:
	default:
	}
}

// followTools keeps the list of tools fresh: it is asked for when the server is
// there, when it says that it has changed, after each new start and each reload,
// and at a URL now and then; with growing pauses while there is no answer.
func (s *server) followTools(ctx context.Context) {
	var wait pauses
	wait.reset()
	var since time.Time // of the window
	lists := 0          // in it
	for ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, listBound)
		p, err := s.listed(bounded)
		cancel()
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(wait.next()):
			}
			continue
		}
		wait.reset()
		var later <-chan time.Time
		if s.at.path == "" {
			later = time.After(listEvery)
		}
		select {
		case <-ctx.Done():
		case <-p.wire.over:
		case <-s.again:
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
			case <-s.again:
			default:
			}
		case <-later:
		}
	}
}

// list asks for all tools.
func (s *server) list(ctx context.Context) ([]ServerTool, error) {
	if _, err := s.listed(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tools, nil
}

// listed asks for all tools and takes note of them. It returns the connection that
// they came by.
func (s *server) listed(ctx context.Context) (*peer, error) {
	p, err := s.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer s.release()
	var all []ServerTool
	cursor, size := "", 0
	for page := 0; page == 0 || cursor != ""; page++ {
		if page == maxPages || len(all) > maxListed || size > maxFrame {
			return nil, s.unlisted(fmt.Errorf("the server lists more than %d tools, or %d pages or %d bytes of them", maxListed, maxPages, maxFrame))
		}
		var some []ServerTool
		if some, cursor, err = s.page(ctx, p, cursor); err != nil {
			return nil, s.unlisted(fmt.Errorf("its tools can't be listed: %w", err))
		}
		for _, t := range some {
			size += len(t.Name) + len(t.Description) + len(t.InputSchema)
		}
		all = append(all, some...)
	}
	s.mu.Lock()
	same := s.known && slices.EqualFunc(s.tools, all, func(a, b ServerTool) bool {
		return a.Name == b.Name && a.Description == b.Description && bytes.Equal(a.InputSchema, b.InputSchema)
	})
	s.tools, s.known = all, true
	s.mu.Unlock()
	if !same {
		select {
		case s.all.changed <- struct{}{}:
		default:
		}
	}
	return p, nil
}

// unlisted takes note of why the tools of a server that is there are not known.
func (s *server) unlisted(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.why = err
	return err
}

// page asks for one page of the tools.
func (s *server) page(ctx context.Context, p *peer, cursor string) (list []ServerTool, next string, err error) {
	f := &flight{}
	answer, err := p.ask(ctx, f, func(ctx context.Context) error {
		_, err := p.session.ListTools(ctx, &mcp.ListToolsParams{Cursor: cursor})
		return err
	})
	defer p.wire.drop("", f)
	if err != nil {
		s.doubt(p, f)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, "", err
	}
	var said struct {
		Tools []struct {
			Name        string          `json:"name"`
			Title       string          `json:"title"`
			Description string          `json:"description"`
			InputSchema json.RawMessage `json:"inputSchema"`
		} `json:"tools"`
		NextCursor string `json:"nextCursor"`
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		return nil, "", &jsonrpc.Error{Code: jsonrpc.CodeParseError, Message: err.Error()}
	}
	for _, t := range said.Tools {
		list = append(list, ServerTool{Name: t.Name, Description: cmp.Or(t.Description, t.Title), InputSchema: t.InputSchema})
	}
	return list, said.NextCursor, nil
}

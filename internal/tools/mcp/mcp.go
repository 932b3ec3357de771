package mcp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// An mcpHandler calls one tool of an MCP server. Its fields are immutable.
type handler struct {
	server *server
	tool   string // the server's own name of it
	max    int
	log    *slog.Logger
}

// New makes the handler of one tool of an MCP server. It checks all that can
// be checked without the server, which is started when it is first needed. A call
// returns soon after its context ends, when the server has been told so: what the
// server then still does is its own affair, for it is shared with other calls.
func New(cfg Config, common tools.Common, servers *Servers) (tools.Handler, error) {
	s, err := serverOf(cfg, common, servers)
	if err != nil {
		return nil, err
	}
	return &handler{server: s, tool: cmp.Or(cfg.Tool, common.Name), max: common.MaxResultBytes, log: common.Logger()}, nil
}

// Call makes one request of the server, which is started first where it must be.
// The request is sent once.
func (h *handler) Call(ctx context.Context, call tools.Call) (tools.Result, error) {
	if ctx.Err() != nil {
		return tools.Result{}, &tools.UnavailableError{Err: context.Cause(ctx)}
	}
	p, err := h.server.acquire(ctx)
	if err != nil {
		return tools.Result{}, err
	}
	defer h.server.release()
	p.calls.Add(1)
	defer p.calls.Add(-1)
	log := h.log.With("session", call.Session, "call", call.ID, "tool", call.Tool)
	f := &flight{progress: func(params json.RawMessage) {
		log.Debug("progress of a call", "progress", string(content.CutAfter(content.Valid(params), maxLogLine)))
	}}
	token := strconv.FormatUint(h.server.all.started.Add(1), 10)
	p.wire.follow(token, f)
	defer p.wire.drop(token, f)
	answer, err := p.ask(ctx, f, func(ctx context.Context) error {
		_, err := p.session.CallTool(ctx, h.params(call, token))
		return err
	})
	if err == nil {
		return mcpResult(answer, h.max), nil
	}
	return h.failure(ctx, p, f, err)
}

func (h *handler) params(call tools.Call, token string) *mcp.CallToolParams {
	meta := mcp.Meta{}
	// The span of ctx, where there is one, is told here as traceparent.
	tools.Describe(call, func(name, value string) { meta[name] = value })
	params := &mcp.CallToolParams{Meta: meta, Name: h.tool, Arguments: json.RawMessage("{}")}
	if len(call.Input) > 0 {
		params.Arguments = call.Input
	}
	params.SetProgressToken(token)
	return params
}

// failure is what a call without a result ends with.
func (h *handler) failure(ctx context.Context, p *peer, f *flight, err error) (tools.Result, error) {
	var said *jsonrpc.Error
	var status *statusError
	h.server.doubt(p, f)
	switch {
	case f.withdraw():
		if ctx.Err() != nil {
			return tools.Result{}, &tools.UnavailableError{Err: context.Cause(ctx)}
		}
		return tools.Result{}, &tools.UnavailableError{Err: err, Passing: true}
	case f.noSession.Load():
		// By the protocol such a request is not run.
		return tools.Result{}, &tools.UnavailableError{Err: errForgotten, Passing: true}
	case f.answer.Load() != nil && errors.As(err, &said):
		return content.Error(bound(refusal(said), h.max)), nil
	case ctx.Err() != nil:
		h.server.all.run(func() { p.probe(h.server.all.ctx) })
		return tools.Result{}, &tools.LostError{Err: context.Cause(ctx)}
	case errors.As(err, &status):
		return content.Error(bound(status.Error(), h.max)), nil
	}
	return tools.Result{}, &tools.LostError{Err: err}
}

// refusal is the text of an error in JSON-RPC: the server has read the request,
// and says no.
func refusal(e *jsonrpc.Error) string {
	text := fmt.Sprintf("The MCP server refused the call: %s (code %d)", e.Message, e.Code)
	if len(e.Data) > 0 && string(e.Data) != "null" {
		text += "\n" + string(e.Data)
	}
	return text
}

// bound is text of at most max bytes, as in any result.
func bound(text string, max int) string {
	max = cmp.Or(max, content.DefaultMax)
	if len(text) <= max {
		return text
	}
	begin, mark, end := content.Split([]byte(text), nil, 0, max)
	return string(begin) + mark + string(end)
}

// Live reports whether the server is there and has the tool.
func (h *handler) Live(ctx context.Context) error {
	list, err := h.server.list(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(t ServerTool) bool { return t.Name == h.tool }) {
		return fmt.Errorf("the server has no tool %q; it has: %s", h.tool, toolNames(list))
	}
	return nil
}

func toolNames(list []ServerTool) string {
	var names []string
	for _, t := range list {
		names = append(names, t.Name)
	}
	if len(names) > 20 {
		names = append(names[:20], "…")
	}
	return cmp.Or(strings.Join(names, ", "), "none")
}

package mcp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// A handler calls one tool of an MCP server. Its fields are immutable.
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
	c, err := h.server.acquire(ctx)
	if err != nil {
		return tools.Result{}, err
	}
	defer h.server.release(c)
	answer, err := c.ask(ctx, h.request(call))
	var refusal *jsonrpc.Error
	var failed *requestError
	switch {
	case errors.As(err, &failed):
		return h.failure(ctx, c, failed)
	case errors.As(err, &refusal):
		return content.Error(bound(refusalText(refusal), h.max)), nil
	}
	return resultOf(answer, h.max), nil
}

func (h *handler) request(call tools.Call) *request {
	log := h.log.With("session", call.Session, "call", call.ID, "tool", call.Tool)
	meta, input := map[string]any{}, json.RawMessage("{}")
	// The span of ctx, where there is one, is told here as traceparent.
	tools.Describe(call, func(name, value string) { meta[name] = value })
	if len(call.Input) > 0 {
		input = call.Input
	}
	return &request{
		method: "tools/call", params: map[string]any{"name": h.tool, "arguments": input}, meta: meta,
		progress: func(params json.RawMessage) {
			log.Debug("progress of a call", "progress", h.server.endpoint.quote(params, maxLogLine))
		},
	}
}

// failure is what a call ends with that has no answer in JSON-RPC.
func (h *handler) failure(ctx context.Context, c *client, failed *requestError) (tools.Result, error) {
	if c.forgets(failed) {
		return tools.Result{}, &tools.UnavailableError{Err: errForgotten, Passing: true}
	}
	if failed.status != 0 && ctx.Err() == nil {
		c.doubts(ctx, failed)
		return content.Error(bound(statusText(failed), h.max)), nil
	}
	why := failed.err
	if ctx.Err() != nil {
		why = context.Cause(ctx)
		c.beside.run(c.probe)
	}
	switch {
	case !failed.sent:
		return tools.Result{}, &tools.UnavailableError{Err: why, Passing: ctx.Err() == nil}
	case ctx.Err() != nil:
		return tools.Result{}, &tools.LostError{Err: why}
	case errors.Is(failed, errTooLong):
		return content.Error(bound(failed.Error(), h.max)), nil
	}
	return tools.Result{}, &tools.LostError{Err: why}
}

// statusText is what a call is answered with that got a status of HTTP instead of an
// answer in MCP: the server's own words are the tool's.
func statusText(failed *requestError) string {
	var status *statusError
	if errors.As(failed, &status) && status.said.Message != "" {
		return status.text + ": " + status.said.Message
	}
	return failed.Error()
}

// refusalText is the text of an error in JSON-RPC: the server has read the request,
// and says no.
func refusalText(e *jsonrpc.Error) string {
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

// Live reports whether the server is there and has the tool. Its error has what the
// server said: it is told to who asks, and to no log.
func (h *handler) Live(ctx context.Context) error {
	if err := h.server.list(ctx); err != nil {
		if said := tools.Said(err); said != "" {
			return fmt.Errorf("%w; %s", err, said)
		}
		return err
	}
	list, err := h.server.listed()
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

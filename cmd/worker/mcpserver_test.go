package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// mcpServerMain plays an MCP server with the tools pay and look that keeps its
// record in os.Args[1]. It does not end at the end of its input.
func mcpServerMain() {
	dir := os.Args[1]
	file, err := os.OpenFile(filepath.Join(dir, "servers"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(file, os.Getpid())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server := mcp.NewServer(&mcp.Implementation{Name: "record", Version: "1"}, nil)
	for _, tool := range []string{"pay", "look"} {
		server.AddTool(&mcp.Tool{Name: tool, InputSchema: json.RawMessage(`{"type":"object"}`)}, func(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			id, _ := r.Params.Meta["Tool-Use-Id"].(string)
			if err := note(dir, tool, id); err != nil {
				return nil, err
			}
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "done"}}}, nil
		})
	}
	_ = server.Run(context.Background(), &mcp.StdioTransport{})
	time.Sleep(time.Hour)
}

// Command mcp-go is an MCP server with two tools, written with the official Go
// SDK. units.yaml beside it makes both of them tools of an agent:
//
//	go build -o tools.d/units-server ./examples/mcp-go
//	cp examples/mcp-go/units.yaml tools.d
//	worker tools list
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type temperature struct {
	Celsius float64 `json:"celsius" jsonschema:"degrees Celsius"`
}

type distance struct {
	Kilometres float64 `json:"kilometres" jsonschema:"the distance in kilometres"`
}

func main() {
	server := mcp.NewServer(&mcp.Implementation{Name: "units", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "fahrenheit", Description: "Convert a temperature in degrees Celsius to Fahrenheit."},
		func(_ context.Context, _ *mcp.CallToolRequest, in temperature) (*mcp.CallToolResult, any, error) {
			if in.Celsius < -273.15 {
				// An error is a failure that the agent reads: say what it can do about it.
				return nil, nil, fmt.Errorf("%g °C is below absolute zero (-273.15 °C): ask for a higher one", in.Celsius)
			}
			return text("%.1f °F", in.Celsius*9/5+32), nil, nil
		})
	mcp.AddTool(server, &mcp.Tool{Name: "miles", Description: "Convert a distance in kilometres to miles."},
		func(_ context.Context, _ *mcp.CallToolRequest, in distance) (*mcp.CallToolResult, any, error) {
			return text("%.2f mi", in.Kilometres/1.609344), nil, nil
		})
	// What a server logs goes to stderr: stdout belongs to the protocol.
	if err := server.Run(context.Background(), &mcp.StdioTransport{}); err != nil {
		log.Fatal(err)
	}
}

func text(format string, args ...any) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprintf(format, args...)}}}
}

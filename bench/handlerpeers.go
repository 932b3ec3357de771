package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"toolhand/bench/control"
)

// natsSubject is where the NATS peer answers.
const natsSubject = "bench.echo"

// natsMain is the process of a NATS server, and of a handler that answers with what
// it is sent.
func natsMain() error {
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		return err
	}
	srv.Start()
	defer srv.Shutdown()
	if !srv.ReadyForConnections(10 * time.Second) {
		return errors.New("the NATS server does not start")
	}
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		return err
	}
	defer nc.Close()
	if _, err := nc.QueueSubscribe(natsSubject, "bench", func(m *nats.Msg) {
		_ = m.Respond(m.Data) // who asked sees it
	}); err != nil {
		return err
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	return control.Serve(os.Stdin, os.Stdout, control.Actions{
		"url": control.Action(func(struct{}) (any, error) { return srv.ClientURL(), nil }),
	})
}

// mcpMain is an MCP server on the standard streams, whose tool answers with what it
// is sent.
func mcpMain() error {
	s := mcp.NewServer(&mcp.Implementation{Name: "bench", Version: "1"}, nil)
	s.AddTool(&mcp.Tool{Name: "echo", Description: "For the benchmark.", InputSchema: json.RawMessage(`{"type":"object"}`)},
		func(_ context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: string(req.Params.Arguments)}}}, nil
		})
	err := s.Run(context.Background(), &mcp.StdioTransport{})
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// askNATS makes the call of the nats tool by hand.
func askNATS(nc *nats.Conn) func() (string, error) {
	return func() (string, error) {
		m, err := nc.Request(natsSubject, []byte(handlerInput), time.Minute)
		if err != nil {
			return "", err
		}
		return string(m.Data), nil
	}
}

// askMCP makes the call of the mcp tool by hand.
func askMCP(session *mcp.ClientSession) func() (string, error) {
	return func() (string, error) {
		r, err := session.CallTool(context.Background(), &mcp.CallToolParams{Name: "echo", Arguments: json.RawMessage(handlerInput)})
		if err != nil {
			return "", err
		}
		var out bytes.Buffer
		for _, c := range r.Content {
			if t, ok := c.(*mcp.TextContent); ok {
				out.WriteString(t.Text)
			}
		}
		return out.String(), nil
	}
}

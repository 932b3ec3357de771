package run_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/loop/slots"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// greet is a handler.
type greet struct{}

// Call implements tools.Handler.
func (greet) Call(_ context.Context, c tools.Call) (tools.Result, error) {
	var in struct{ Name string }
	if err := json.Unmarshal(c.Input, &in); err != nil {
		return tools.Result{}, err
	}
	return content.Text("Hello, " + in.Name), nil
}

func newGreet() *registry.Tool {
	tool, err := registry.NewTool(registry.Manifest{
		Name: "greet", Deadline: time.Minute, DeadlineText: "1m", Idempotent: true, Handler: greet{},
		InputSchema: json.RawMessage(`{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}`),
	})
	if err != nil {
		panic(err)
	}
	return tool
}

// A call that no session made: its input is checked, and it ends at its deadline.
func ExampleOnce_Call() {
	tool := newGreet()
	once := run.Once{
		Runner: run.Runner{Slots: slots.New(0), Log: slog.New(slog.DiscardHandler)},
		Lookup: func(name string) (*registry.Tool, bool) { return tool, name == tool.Name },
	}
	for _, call := range []tools.Call{
		{ID: "1", Tool: "greet", Input: []byte(`{"name":"Ada"}`)},
		{ID: "2", Tool: "greet", Input: []byte(`{"name":7}`)},
		{ID: "3", Tool: "shout", Input: []byte(`{}`)},
	} {
		report, err := once.Call(context.Background(), call)
		fmt.Println(report.Outcome, string(report.Result.Content), err)
	}
	// Output:
	// ok [{"text":"Hello, Ada","type":"text"}] <nil>
	// invalid [{"text":"Invalid input for tool \"greet\":\n- /name: expected string, found integer 7","type":"text"}] <nil>
	// unknown_tool [{"text":"Unknown tool: shout","type":"text"}] <nil>
}

// A session gives its calls out like this, and takes their ends in.
func ExampleRunner_Queue() {
	tool := newGreet()
	runner := run.Runner{Slots: slots.New(8), Log: slog.New(slog.DiscardHandler)}
	ends := make(chan run.End, 2)
	r := runner.Queue(context.Background(), run.Call{
		Call: tools.Call{ID: "sevt_1", Tool: "greet", Session: "sesn_1", Input: []byte(`{"name":"Ada"}`), Deadline: time.Now().Add(tool.Deadline)},
		Def:  tool,
	}, func(e run.End) { ends <- e })
	go r.Do()
	end := <-ends
	fmt.Println(end.Outcome, end.Handled, end.GoesOn, string(end.Result.Content))
	// Output: ok true false [{"text":"Hello, Ada","type":"text"}]
}

package sim

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

//go:embed scripts/demo.yaml
var scripts embed.FS

// Script is what an agent does in its session, and what goes wrong on the way.
// [Server.Play] plays it.
type Script struct {
	// Agent is the session's agent, with the tools that the API shows.
	Agent AgentSpec
	// Session is the id of the session.
	Session string
	// Sessions is how many sessions play the script at once. With more than
	// one, their ids are Session_1, Session_2 and so on.
	Sessions int
	// Repeat is how many times the steps are played. Zero means until the
	// context ends.
	Repeat int
	// Pace is the pause before each step.
	Pace time.Duration
	// Attach is whether each round waits until the session has an open stream.
	Attach bool

	name    string // of the file
	threads bool   // it has subagents
	asked   bool   // its first step is a user's, which sets the session running
	steps   []step
}

// step is one step of a script.
type step struct {
	at string // file and line, for errors
	do func(context.Context, *player) error
}

// Places returns the ids of the sessions that play the script.
func (s *Script) Places() []string {
	if s.Sessions <= 1 {
		return []string{s.Session}
	}
	ids := make([]string, s.Sessions)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s_%d", s.Session, i+1)
	}
	return ids
}

func newScript(name string) *Script {
	return &Script{
		Agent:   AgentSpec{ID: "agent_sim", Name: "simulated agent"},
		Session: "sesn_sim", Sessions: 1, Repeat: 1, Attach: true, name: name,
	}
}

// LoadScript reads a script from a file. Errors name file, line and column.
func LoadScript(path string) (*Script, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the script: %w", err)
	}
	return ParseScript(path, data)
}

// ParseScript reads a script. name stands for the file in errors.
func ParseScript(name string, data []byte) (*Script, error) {
	src := source{name}
	root, err := src.parse(data)
	if err != nil {
		return nil, err
	}
	s := newScript(name)
	stepsSet := func(n ast.Node) error {
		return src.sequence(n, "steps", func(n ast.Node) error { return s.addStep(src, n) })
	}
	forever := func(n ast.Node) error {
		if v, ok := src.text(n); ok && v == "forever" {
			s.Repeat = 0
			return nil
		}
		return src.integer(&s.Repeat, 1, 1_000_000)(n)
	}
	return s, src.mapping(root, "the script", map[string]setter{
		"agent":    func(n ast.Node) error { return s.readAgent(src, n) },
		"session":  src.str(&s.Session),
		"sessions": src.integer(&s.Sessions, 1, 100_000),
		"repeat":   forever,
		"pace":     src.duration(&s.Pace),
		"attach":   src.boolean(&s.Attach),
		"steps":    stepsSet,
	}, "steps")
}

func (s *Script) readAgent(src source, n ast.Node) error {
	a := &s.Agent
	tool := func(n ast.Node) error {
		var t Tool
		err := src.mapping(n, "a tool", map[string]setter{
			"name": src.str(&t.Name), "description": src.str(&t.Description),
			"input_schema": src.json(&t.InputSchema),
		}, "name", "description")
		if err == nil && t.InputSchema != nil {
			if problem := inputSchema("input_schema", t.InputSchema); problem != "" {
				err = src.errorf(n, "%s", problem)
			}
		}
		a.Tools = append(a.Tools, t)
		return err
	}
	return src.mapping(n, "agent", map[string]setter{
		"id": src.str(&a.ID), "name": src.str(&a.Name), "model": src.str(&a.Model), "system": src.str(&a.System),
		"tools": func(n ast.Node) error { return src.sequence(n, "tools", tool) },
	})
}

// DemoScript returns the script of the demo: a coding agent's session with the
// example tools.
func DemoScript() (*Script, error) {
	data, err := scripts.ReadFile("scripts/demo.yaml")
	if err != nil {
		return nil, err
	}
	return ParseScript("demo.yaml", data)
}

// CallsScript returns a script that makes each call in a turn of its own, then
// ends its turn. Each call is written NAME or NAME=INPUT, with the input as a
// JSON object; none means an agent that only says hello.
func CallsScript(calls ...string) (*Script, error) {
	s := newScript("calls")
	s.then("greeting", func(_ context.Context, p *player) error {
		p.sess.Message("hello: these are the calls from the command line")
		return nil
	})
	for _, text := range calls {
		name, input, found := strings.Cut(text, "=")
		if !found {
			input = "{}"
		}
		if problem := isObject("input", json.RawMessage(input)); problem != "" || name == "" {
			return nil, fmt.Errorf("call %q: write NAME or NAME={…}: the input is a JSON object", text)
		}
		c := scriptCall{CallSpec: CallSpec{Name: name, Input: json.RawMessage(input)}}
		s.then(text, func(ctx context.Context, p *player) error { return p.call(ctx, c) })
		s.then(text, func(ctx context.Context, p *player) error { return p.expect(ctx, expectation{}) })
	}
	s.then("end", func(_ context.Context, p *player) error { p.sess.EndTurn(); return nil })
	return s, nil
}

func (s *Script) then(at string, do func(context.Context, *player) error) {
	s.steps = append(s.steps, step{at: at, do: do})
}

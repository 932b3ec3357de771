package sim

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"toolhand/internal/document"
	"toolhand/internal/schema"
)

//go:embed scripts/demo.yaml
var scripts embed.FS

// Script is what an agent does in its session, and what goes wrong on the way.
// [Server.Play] plays it.
type Script struct {
	// Agent is the session's agent, with the tools that the API shows.
	Agent AgentSpec `yaml:"agent"`
	// Session is the id of the session.
	Session string `yaml:"session"`
	// Sessions is how many sessions play the script at once. With more than
	// one, their ids are Session_1, Session_2 and so on.
	Sessions int `yaml:"sessions"`
	// Repeat is how many times the steps are played. Zero means until the
	// context ends.
	Repeat int
	// Pace is the pause before each step.
	Pace time.Duration `yaml:"pace"`
	// Attach is whether each round waits until the session has an open stream.
	Attach bool `yaml:"attach"`

	threads bool // it has subagents
	asked   bool // its first step is a user's, which sets the session running
	steps   []step
}

// step is one step of a script.
type step struct {
	at string // file and line, for errors
	do action
}

type action = func(context.Context, *player) error

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

func newScript() *Script {
	return &Script{
		Agent:   AgentSpec{ID: "agent_sim", Name: "simulated agent"},
		Session: "sesn_sim", Sessions: 1, Repeat: 1, Attach: true,
	}
}

// LoadScript reads a script from a file. Its error is that of the file system, or a
// *[document.Errors] of all that is wrong with the script.
func LoadScript(path string) (*Script, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the script: %w", err)
	}
	return ParseScript(path, data)
}

// formText says which keys and steps there are, and what is expected of each.
//
//go:embed script.schema.json
var formText string

var form = sync.OnceValue(func() *schema.Form { return schema.NewForm(formText) })

// ParseScript reads a script. name stands for the file in errors; they are as those of
// [LoadScript].
func ParseScript(name string, data []byte) (*Script, error) {
	ps := &document.Problems{File: name}
	s := newScript()
	top := document.ParseYAML(ps, data)
	if top == nil && len(ps.List) == 0 {
		ps.Add("the file is empty")
	}
	// Each step needs that the one before found nothing.
	for _, step := range []func(){func() { form().Check(ps, top) }, func() { s.read(ps, top) }} {
		if len(ps.List) == 0 {
			step()
		}
	}
	if err := ps.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// read takes a document whose form is right.
func (s *Script) read(ps *document.Problems, top *document.Node) {
	document.Decode(ps, top, "", s)
	if n := top.Get("repeat"); n != nil && n.Kind == document.String {
		s.Repeat = 0 // forever
	} else {
		document.Decode(ps, n, "/repeat", &s.Repeat)
	}
	known := stepReaders()
	for i, n := range top.Get("steps").Items {
		pointer, word, details := fmt.Sprintf("/steps/%d", i), n.Text, (*document.Node)(nil)
		if n.Kind == document.Mapping {
			word, details = n.Keys[0].Text, n.Items[0]
			pointer = document.Below(pointer, word)
		}
		s.threads = s.threads || word == "thread"
		s.asked = s.asked || word == "user" && i == 0
		s.then(fmt.Sprintf("%s:%d", ps.File, n.Line), known[word](ps, details, pointer))
	}
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
	s := newScript()
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
		c := scriptCall{Name: name, Input: json.RawMessage(input)}
		s.then(text, func(ctx context.Context, p *player) error { return p.call(ctx, c) })
		s.then(text, func(ctx context.Context, p *player) error { return p.expect(ctx, expectation{}) })
	}
	s.then("end", func(_ context.Context, p *player) error { p.sess.EndTurn(); return nil })
	return s, nil
}

func (s *Script) then(at string, do action) {
	s.steps = append(s.steps, step{at: at, do: do})
}

package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// defaultExpect is how long a script waits for results.
const defaultExpect = 10 * time.Minute

// scriptCall is a call in a script.
type scriptCall struct {
	CallSpec
	thread string        // as the script names it; empty: the primary one
	delay  time.Duration // before the call
}

// expectation is what a turn waits for.
type expectation struct {
	within  time.Duration // zero: defaultExpect
	results []expectedResult
}

type expectedResult struct {
	call     string
	contains string
	isError  *bool
}

type action = func(context.Context, *player) error

// addStep reads one step: a word, or a mapping of one word to its details.
func (s *Script) addStep(src source, n ast.Node) error {
	at := fmt.Sprintf("%s:%d", src.name, n.GetToken().Position.Line)
	if word, ok := src.text(n); ok {
		do := plainSteps()[word]
		if do == nil {
			return src.errorf(n, "unknown step %q; those without details are %v", word, sortedNames(plainSteps()))
		}
		s.then(at, do)
		return nil
	}
	readers := s.stepReaders(src)
	setters := map[string]setter{}
	var do action
	for name, read := range readers {
		setters[name] = func(v ast.Node) (err error) {
			if do != nil {
				return src.errorf(n, "a step has one key: put - in front of %s", name)
			}
			do, err = read(v)
			return err
		}
	}
	if err := src.mapping(n, "a step", setters); err != nil {
		return err
	}
	if do == nil {
		return src.errorf(n, "an empty step")
	}
	if entries, err := src.entries(n, "a step"); err == nil && len(s.steps) == 0 {
		s.asked = entries[0].Key.GetToken().Value == "user"
	}
	s.then(at, do)
	return nil
}

// plainSteps are the steps that are one word.
func plainSteps() map[string]action {
	plain := func(f func(*Session)) action {
		return func(_ context.Context, p *player) error { f(p.sess); return nil }
	}
	return map[string]action{
		"end_turn":   plain((*Session).EndTurn),
		"terminate":  plain((*Session).Terminate),
		"delete":     plain((*Session).Delete),
		"archive":    plain((*Session).Archive),
		"reschedule": plain((*Session).Reschedule),
		"cut_stream": plain(func(s *Session) { s.CutStreams(false) }),
		"interrupt":  func(_ context.Context, p *player) error { return p.sess.Interrupt("") },
		"expect":     func(ctx context.Context, p *player) error { return p.expect(ctx, expectation{}) },
		"await_user": func(ctx context.Context, p *player) error { return p.awaitUser(ctx) },
	}
}

// stepReaders read the steps that have details.
func (s *Script) stepReaders(src source) map[string]func(ast.Node) (action, error) {
	text := func(f func(*player, string) error) func(ast.Node) (action, error) {
		return func(n ast.Node) (action, error) {
			var v string
			err := src.str(&v)(n)
			return func(_ context.Context, p *player) error { return f(p, v) }, err
		}
	}
	return map[string]func(ast.Node) (action, error){
		"user":       text(func(p *player, v string) error { return p.sess.User(v) }),
		"error":      text(func(p *player, v string) error { p.sess.Error(v); return nil }),
		"idle":       text(func(p *player, v string) error { p.sess.Idle(v); return nil }),
		"interrupt":  text(func(p *player, v string) error { return p.interrupt(v) }),
		"end_thread": text(func(p *player, v string) error { return p.onThread(v, (*Thread).Terminate) }),
		"idle_thread": text(func(p *player, v string) error {
			return p.onThread(v, (*Thread).EndTurn)
		}),
		"message": func(n ast.Node) (action, error) { return readMessage(src, n) },
		"call":    func(n ast.Node) (action, error) { return s.readCalls(src, n, false) },
		"calls":   func(n ast.Node) (action, error) { return s.readCalls(src, n, true) },
		"confirm": func(n ast.Node) (action, error) { return readConfirm(src, n) },
		"expect":  func(n ast.Node) (action, error) { return readExpect(src, n) },
		"thread":  func(n ast.Node) (action, error) { return s.readThread(src, n) },
		"fail":    func(n ast.Node) (action, error) { return readFail(src, n) },
		"sleep":   func(n ast.Node) (action, error) { return readSleep(src, n) },
		"cut_stream": func(n ast.Node) (action, error) {
			var how string
			err := src.choice(&how, "clean", "reset")(n)
			return func(_ context.Context, p *player) error { p.sess.CutStreams(how == "reset"); return nil }, err
		},
	}
}

func readSleep(src source, n ast.Node) (action, error) {
	var d time.Duration
	err := src.duration(&d)(n)
	return func(ctx context.Context, _ *player) error { return pause(ctx, d) }, err
}

func readMessage(src source, n ast.Node) (action, error) {
	var text, thread string
	err := src.str(&text)(n)
	if _, plain := src.text(n); !plain {
		err = src.mapping(n, "message", map[string]setter{
			"text": src.str(&text), "thread": src.str(&thread),
		}, "text")
	}
	return func(_ context.Context, p *player) error {
		return p.onThread(thread, func(t *Thread) { t.Message(text) })
	}, err
}

// readCalls reads one call or several.
func (s *Script) readCalls(src source, n ast.Node, many bool) (action, error) {
	var calls []scriptCall
	one := func(n ast.Node) error {
		c, err := s.readCall(src, n)
		calls = append(calls, c)
		return err
	}
	var err error
	if many {
		err = src.sequence(n, "calls", one)
	} else {
		err = one(n)
	}
	return func(ctx context.Context, p *player) error {
		for _, c := range calls {
			if err := p.call(ctx, c); err != nil {
				return err
			}
		}
		return nil
	}, err
}

func (s *Script) readCall(src source, n ast.Node) (scriptCall, error) {
	var c scriptCall
	var verbatim string
	err := src.mapping(n, "a call", map[string]setter{
		"name": src.str(&c.Name), "id": src.str(&c.ID), "thread": src.str(&c.thread),
		"delay": src.duration(&c.delay), "input": src.json(&c.Input), "input_json": src.str(&verbatim),
		"permission":           src.choice(&c.Permission, "allow", "ask", "deny"),
		"evaluated_permission": src.str(&c.Evaluated),
	}, "name")
	switch {
	case err != nil:
	case c.Permission != "" && c.Evaluated != "":
		err = src.errorf(n, "permission and evaluated_permission: one of them (the first makes it no custom tool)")
	case verbatim != "" && c.Input != nil:
		err = src.errorf(n, "input and input_json: one of them")
	case verbatim != "":
		c.Input = []byte(verbatim)
		if problem := isObject("input_json", c.Input); problem != "" {
			err = src.errorf(n, "%s in JSON", problem)
		}
	case c.Input != nil && isObject("", c.Input) != "":
		err = src.errorf(n, "input must be a mapping")
	}
	return c, err
}

// readConfirm reads a user's decision on a call.
func readConfirm(src source, n ast.Node) (action, error) {
	verdict := "allow"
	var call, message string
	err := src.mapping(n, "confirm", map[string]setter{
		"call": src.str(&call), "result": src.choice(&verdict, "allow", "deny"), "deny_message": src.str(&message),
	}, "call")
	if err == nil && message != "" && verdict != "deny" {
		err = src.errorf(n, "deny_message goes with result: deny")
	}
	return func(_ context.Context, p *player) error { return p.confirm(call, verdict, message) }, err
}

func readExpect(src source, n ast.Node) (action, error) {
	var e expectation
	if word, plain := src.text(n); plain {
		if word != "results" {
			return nil, src.errorf(n, "write: expect, expect: results, or a mapping of within and results")
		}
		return func(ctx context.Context, p *player) error { return p.expect(ctx, e) }, nil
	}
	one := func(n ast.Node) error {
		var r expectedResult
		var isError bool
		err := src.mapping(n, "an expected result", map[string]setter{
			"call": src.str(&r.call), "contains": src.str(&r.contains),
			"is_error": func(n ast.Node) error { r.isError = &isError; return src.boolean(&isError)(n) },
		}, "call")
		e.results = append(e.results, r)
		return err
	}
	err := src.mapping(n, "expect", map[string]setter{
		"within":  src.duration(&e.within),
		"results": func(n ast.Node) error { return src.sequence(n, "results", one) },
	})
	return func(ctx context.Context, p *player) error { return p.expect(ctx, e) }, err
}

func (s *Script) readThread(src source, n ast.Node) (action, error) {
	s.threads = true
	var id, agent string
	err := src.mapping(n, "thread", map[string]setter{"id": src.str(&id), "agent": src.str(&agent)}, "id")
	if agent == "" {
		agent = "subagent"
	}
	return func(_ context.Context, p *player) error {
		p.threads[id] = p.sess.Thread(agent, p.unique(id))
		return nil
	}, err
}

// scriptFaults are the faults that a script can name.
func scriptFaults() map[string]Action {
	return map[string]Action{
		"reset_before": ResetBefore(), "reset_after": ResetAfter(),
		"stall": Stall(), "heartbeats_only": HeartbeatsOnly(), "duplicate": Duplicate(),
		"html": Respond(200, "text/html", "<html><body>not the API</body></html>"),
	}
}

func readFail(src source, n ast.Node) (action, error) {
	var endpoint, do string
	var status, retryAfter int
	times := 1
	err := src.mapping(n, "fail", map[string]setter{
		"endpoint": src.choice(&endpoint, "stream", "list", "send", "get"),
		"status":   src.integer(&status, 400, 599), "times": src.integer(&times, 1, 1_000_000),
		"retry_after": src.integer(&retryAfter, 0, 3600), "do": src.choice(&do, sortedNames(scriptFaults())...),
	}, "endpoint")
	if err == nil && (status == 0) == (do == "") {
		err = src.errorf(n, "fail needs one of status and do")
	}
	if err == nil && endpoint != "stream" && slices.Contains([]string{"stall", "heartbeats_only", "duplicate"}, do) {
		err = src.errorf(n, "%s is for the endpoint stream", do)
	}
	if err == nil && endpoint == "stream" && do == "reset_after" {
		err = src.errorf(n, "a stream has no reset_after: use cut_stream: reset")
	}
	act := scriptFaults()[do]
	switch {
	case retryAfter > 0 && status != 0:
		act = RetryAfter(status, retryAfter)
	case status != 0:
		act = Refuse(status)
	}
	return func(_ context.Context, p *player) error {
		p.srv.Arm(Fault{Session: p.sess.id, Endpoint: Endpoint(endpoint), Times: times, Do: act})
		return nil
	}, err
}

package sim

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"toolhand/internal/document"
)

// A stepReader makes the action of a step from its details; nil are those of a step
// that is one word.
type stepReader = func(ps *document.Problems, n *document.Node, pointer string) action

// stepReaders has a reader for each step of the form.
func stepReaders() map[string]stepReader {
	return map[string]stepReader{
		"message":     with((*player).message),
		"user":        text(func(p *player, s string) error { return p.sess.User(s) }),
		"call":        with((*player).call),
		"calls":       with((*player).calls),
		"confirm":     with((*player).confirm),
		"expect":      with((*player).expect),
		"end_turn":    word((*Session).EndTurn),
		"idle":        text(func(p *player, s string) error { p.sess.Idle(s); return nil }),
		"await_user":  with(func(p *player, ctx context.Context, _ struct{}) error { return p.awaitUser(ctx) }),
		"interrupt":   text((*player).interrupt),
		"thread":      with((*player).thread),
		"idle_thread": text(func(p *player, s string) error { return p.onThread(s, (*Thread).EndTurn) }),
		"end_thread":  text(func(p *player, s string) error { return p.onThread(s, (*Thread).Terminate) }),
		"error":       text(func(p *player, s string) error { p.sess.Error(s); return nil }),
		"reschedule":  word((*Session).Reschedule),
		"terminate":   word((*Session).Terminate),
		"archive":     word((*Session).Archive),
		"delete":      word((*Session).Delete),
		"cut_stream":  text(func(p *player, s string) error { p.sess.CutStreams(s == "reset"); return nil }),
		"fail":        with((*player).fail),
		"sleep":       with(func(_ *player, ctx context.Context, d time.Duration) error { return pause(ctx, d) }),
	}
}

// with is a step with details of any type that can be decoded.
func with[T any](do func(*player, context.Context, T) error) stepReader {
	return func(ps *document.Problems, n *document.Node, pointer string) action {
		var details T
		document.Decode(ps, n, pointer, &details)
		return func(ctx context.Context, p *player) error { return do(p, ctx, details) }
	}
}

// text is a step whose details are a text, empty where it is one word.
func text(do func(*player, string) error) stepReader {
	return with(func(p *player, _ context.Context, s string) error { return do(p, s) })
}

func word(do func(*Session)) stepReader {
	return text(func(p *player, _ string) error { do(p.sess); return nil })
}

// speech is a message of the agent's: a text alone, or with a thread.
type speech struct {
	Text   string `yaml:"text"`
	Thread string `yaml:"thread"`
}

// Decode implements [document.Decoder].
func (s *speech) Decode(n *document.Node) error {
	s.Text = n.Text
	type mapping speech // without this method
	document.Decode(nil, n, "", (*mapping)(s))
	return nil
}

func (p *player) message(_ context.Context, s speech) error {
	return p.onThread(s.Thread, func(t *Thread) { t.Message(s.Text) })
}

// scriptCall is a call in a script; its thread is as the script names it.
type scriptCall struct {
	Name       string          `yaml:"name"`
	Input      json.RawMessage `yaml:"input"`
	Verbatim   jsonObject      `yaml:"input_json"`
	ID         string          `yaml:"id"`
	Thread     string          `yaml:"thread"`
	Delay      time.Duration   `yaml:"delay"`
	Permission string          `yaml:"permission"`
	Evaluated  string          `yaml:"evaluated_permission"`
}

// jsonObject is an object that is written as JSON, and kept byte for byte.
type jsonObject json.RawMessage

// Decode implements [document.Decoder].
func (o *jsonObject) Decode(n *document.Node) error {
	*o = jsonObject(n.Text)
	if isObject("", json.RawMessage(*o)) != "" {
		return fmt.Errorf("expected a JSON object as text, found %s", document.Describe(n.Text))
	}
	return nil
}

func (p *player) call(ctx context.Context, c scriptCall) error {
	if err := pause(ctx, c.Delay); err != nil {
		return err
	}
	spec := CallSpec{Name: c.Name, Input: c.Input, ID: c.ID, Permission: c.Permission, Evaluated: c.Evaluated}
	if c.Verbatim != nil {
		spec.Input = json.RawMessage(c.Verbatim)
	}
	if c.ID != "" {
		spec.ID = p.unique(c.ID)
	}
	return p.onThread(c.Thread, func(t *Thread) { p.ids[c.ID] = t.Call(spec) })
}

func (p *player) calls(ctx context.Context, calls []scriptCall) error {
	for _, c := range calls {
		if err := p.call(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// decision is a user's on a call of the session, made by this script or before it.
type decision struct {
	Call    string `yaml:"call"`
	Result  string `yaml:"result"` // empty: allow
	Message string `yaml:"deny_message"`
}

func (p *player) confirm(_ context.Context, d decision) error {
	call := cmp.Or(p.ids[d.Call], d.Call)
	if d.Message != "" {
		return p.sess.Deny(call, d.Message)
	}
	return p.sess.Confirm(call, cmp.Or(d.Result, "allow"))
}

// defaultExpect is how long a script waits for results.
const defaultExpect = 10 * time.Minute

// expectation is what a turn waits for.
type expectation struct {
	Within  time.Duration    `yaml:"within"` // zero: defaultExpect
	Results []expectedResult `yaml:"results"`
}

type expectedResult struct {
	Call     string `yaml:"call"`
	IsError  *bool  `yaml:"is_error"`
	Contains string `yaml:"contains"`
}

func (p *player) interrupt(name string) error {
	var id string
	if name != "" {
		if err := p.onThread(name, func(t *Thread) { id = t.id }); err != nil {
			return err
		}
	}
	return p.sess.Interrupt(id)
}

type newThread struct {
	ID    string `yaml:"id"`
	Agent string `yaml:"agent"`
}

func (p *player) thread(_ context.Context, t newThread) error {
	p.threads[t.ID] = p.sess.Thread(cmp.Or(t.Agent, "subagent"), p.unique(t.ID))
	return nil
}

// failure has either a status or the name of a fault.
type failure struct {
	Endpoint   string `yaml:"endpoint"`
	Status     int    `yaml:"status"`
	Do         string `yaml:"do"`
	Times      int    `yaml:"times"` // zero: once
	RetryAfter int    `yaml:"retry_after"`
}

func (f failure) action() Action {
	switch f.Do {
	case "reset_before":
		return ResetBefore()
	case "reset_after":
		return ResetAfter()
	case "stall":
		return Stall()
	case "heartbeats_only":
		return HeartbeatsOnly()
	case "duplicate":
		return Duplicate()
	case "html":
		return Respond(200, "text/html", "<html><body>not the API</body></html>")
	}
	if f.RetryAfter > 0 {
		return RetryAfter(f.Status, f.RetryAfter)
	}
	return Refuse(f.Status)
}

func (p *player) fail(_ context.Context, f failure) error {
	p.srv.Arm(Fault{Session: p.sess.id, Endpoint: Endpoint(f.Endpoint), Times: f.Times, Do: f.action()})
	return nil
}

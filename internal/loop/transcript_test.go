package loop

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	"toolhand/internal/upstream"
)

var update = flag.Bool("update", false, "write what the transcripts come to")

// TestTranscripts plays testdata/*.txtar: what happens goes in, what the ledger
// says comes out. A line of "in" is a time since the beginning and what happens
// then; between lines the ledger is woken when it asks to be. The journal goes well
// at once, unless a line says "hold"; a held operation is ended by a line of its own.
// What a run comes to is a line too: returned. The head of each file names the
// invariants that it guards.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(archive.Comment), "nvariant") {
				t.Error("the head names no invariant")
			}
			in, want := section(archive, "in"), section(archive, "out")
			p := newTranscript()
			for i, line := range strings.Split(in, "\n") {
				if err := p.line(line); err != nil {
					t.Fatalf("line %d: %s: %v", i+1, line, err)
				}
			}
			got := strings.Join(p.out, "\n") + "\n"
			if *update {
				archive.Files[slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "out" })].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func section(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// transcript is a ledger whose outputs are written down.
type transcript struct {
	begin, now time.Time
	ledger     *ledger
	wake       time.Time
	held       map[string]bool
	seq        int
	todo       []Input
	passed     int64 // sends accepted, of all sessions
	out        []string
	tools      map[string]*registry.Tool
}

func newTranscript() *transcript {
	p := &transcript{begin: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), held: map[string]bool{}}
	p.now = p.begin
	p.tools = map[string]*registry.Tool{
		"pay":  testTool("pay", false, 10*time.Second),
		"long": testTool("long", false, 60*time.Second),
		"look": testTool("look", true, 20*time.Second),
	}
	p.reset(Settings{})
	return p
}

func (p *transcript) reset(set Settings) {
	set.Session, set.Owner, set.Linger = "s", "w", 250*time.Millisecond
	set.Lookup = func(name string) (*registry.Tool, bool) { t, ok := p.tools[name]; return t, ok }
	p.ledger = newLedger(set)
}

// sentInput is the end of a send, of which no other session makes one.
func (p *transcript) sentInput(err error) Input {
	if err == nil {
		p.passed++
	}
	return sent{err: err, passed: p.passed}
}

// line plays one line of a transcript.
func (p *transcript) line(line string) error {
	f := strings.Fields(line)
	if len(f) == 0 || strings.HasPrefix(line, "#") {
		return nil
	}
	at, err := time.ParseDuration(f[0])
	if err != nil {
		return err
	}
	p.until(p.begin.Add(at))
	in, err := p.input(f[1], f[2:])
	if err != nil {
		return err
	}
	if in != nil {
		p.step(in)
	}
	return nil
}

// until lets time pass, and wakes the ledger when it asks to be.
func (p *transcript) until(t time.Time) {
	for range 1000 {
		if p.wake.IsZero() || p.wake.After(t) {
			break
		}
		p.now = p.wake
		p.step(tick{})
	}
	p.now = t
}

func (p *transcript) step(in Input) {
	p.todo = append(p.todo, in)
	for len(p.todo) > 0 {
		in, p.todo = p.todo[0], p.todo[1:]
		outs, wake := p.ledger.Step(p.now, in)
		p.wake = wake
		for _, out := range outs {
			p.perform(out)
		}
	}
}

func (p *transcript) note(format string, args ...any) {
	p.out = append(p.out, fmt.Sprintf("%-8s %s", p.now.Sub(p.begin), fmt.Sprintf(format, args...)))
}

// auto ends an operation well, unless it is held.
func (p *transcript) auto(what string, in Input) {
	if !p.held[what] {
		p.todo = append(p.todo, in)
	}
}

func (p *transcript) perform(out Output) {
	switch out := out.(type) {
	case give:
		p.note("run %s", out.call.ID)
	case takeBack:
		p.note("take back %s", out.id)
	case stop:
		p.note("stop %s: %s", out.id, out.cause)
	case finish:
		p.note("finish %s: %s: %s", out.entry.Call, out.entry.Outcome, textOf(tools.Result{Content: out.entry.Content}))
		p.auto("finish", finishDone{id: out.entry.Call, revision: 2})
	case forget:
		p.note("forget %s", strings.Join(out.ids, " "))
		p.auto("forget", forgotten{ids: out.ids})
	case send:
		var ids []string
		for _, a := range out.answers {
			ids = append(ids, a.CallID)
		}
		p.note("send %s", strings.Join(ids, " "))
	case readHistory:
		p.seq = out.seq
		p.note("read, open: %s%s", strings.Join(out.open, " "), map[bool]string{true: ", session first"}[out.session])
	case findPrimary:
		p.note("find the primary thread")
	case answered:
		p.note("answered %s: %s", out.report.ID, out.report.Outcome)
	case dropped:
		p.note("dropped %s: %s", out.report.ID, out.report.Outcome)
	case late:
		p.note("late %s", out.id)
	case quarantine:
		p.note("quarantine %s", out.report.ID)
	case notice:
		p.note("notice: %s", out.text)
	case end:
		p.note("end: %s", out.reason)
	}
}

func textOf(r tools.Result) string {
	s := strings.TrimSuffix(strings.TrimPrefix(string(r.Content), `[{"text":"`), `","type":"text"}]`)
	s = strings.TrimSuffix(strings.TrimPrefix(s, `[{"type":"text","text":"`), `"}]`)
	return strings.ReplaceAll(s, `\"`, `"`)
}

// input reads what a line says has happened.
func (p *transcript) input(verb string, args []string) (Input, error) {
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch verb {
	case "settings":
		return nil, p.settings(args)
	case "hold":
		p.held[arg(0)] = true
		return nil, nil
	case "tool":
		p.tools[arg(0)] = testTool(arg(0), false, 10*time.Second)
		return reloaded{}, nil
	case "attached":
		return attached{}, nil
	case "tick":
		return nil, nil
	case "drain":
		return drain{}, nil
	case "abandon":
		return abandon{}, nil
	case "returned":
		return p.returned(arg(0), arg(1)), nil
	case "finished":
		return finishDone{id: arg(0), revision: 2, err: failureOf(arg(1))}, nil
	case "sent":
		return p.sentInput(failureOf(arg(0))), nil
	case "recovered":
		e := journal.Entry{Session: "s", Call: arg(1), Tool: arg(2), Received: p.now, Deadline: p.now.Add(time.Minute), Revision: 7}
		if arg(0) == "quarantined" {
			e.Quarantined = "refused"
		}
		if arg(0) != "started" {
			e.Finished, e.Content, e.Outcome = true, content.Text("from before").Content, string(run.OK)
		}
		return recovered{[]journal.Entry{e}}, nil
	case "history":
		in := history{seq: p.seq, complete: arg(0) == "whole"}
		for _, words := range strings.Split(strings.Join(args[1:], " "), ";") {
			f := strings.Fields(words)
			if len(f) == 0 {
				continue
			}
			e, err := p.event(f[0], f[1:])
			if err != nil {
				return nil, err
			}
			in.events = append(in.events, e)
		}
		return in, nil
	case "session":
		return history{seq: p.seq, session: &upstream.Session{Status: arg(0)}}, nil
	case "primary":
		return primary{arg(0)}, nil
	}
	e, err := p.event(verb, args)
	return received{e}, err
}

func (p *transcript) settings(args []string) error {
	var set Settings
	for _, a := range args {
		key, value, _ := strings.Cut(a, "=")
		d, _ := time.ParseDuration(value)
		switch key {
		case "eager":
			set.Eager = true
		case "ignore":
			set.IgnoreUnknown = true
		case "max_idle":
			set.MaxIdle = d
		case "reconcile":
			set.Reconcile = d
		default:
			return fmt.Errorf("unknown setting %s", a)
		}
	}
	p.reset(set)
	return nil
}

// event reads an event: call ID TOOL [THREAD [AT]], idle [ID…], thread_idle
// THREAD ID…, end REASON, interrupt [THREAD] [at=…], result ID, and the like.
func (p *transcript) event(verb string, args []string) (upstream.Event, error) {
	e := upstream.Event{ID: "x", ProcessedAt: p.now}
	var rest []string
	for _, a := range args {
		if at, ok := strings.CutPrefix(a, "at="); ok {
			d, err := time.ParseDuration(at)
			if err != nil {
				return e, err
			}
			e.ProcessedAt = p.begin.Add(d)
			continue
		}
		if t, ok := strings.CutPrefix(a, "thread="); ok {
			e.Thread = t
			continue
		}
		if v, ok := strings.CutPrefix(a, "permission="); ok {
			e.Permission = v
			continue
		}
		rest = append(rest, a)
	}
	types := map[string]string{
		"call": upstream.TypeCall, "idle": upstream.TypeIdle, "thread_idle": upstream.TypeThreadIdle, "end": upstream.TypeIdle,
		"running": upstream.TypeRunning, "interrupt": upstream.TypeInterrupt, "result": upstream.TypeResult,
		"terminated": upstream.TypeTerminated, "deleted": upstream.TypeDeleted, "thread_created": upstream.TypeThreadCreated,
		"thread_terminated": upstream.TypeThreadTerminated, "tool_use": upstream.TypeToolUse, "undecodable": upstream.TypeUndecodable,
		"error": upstream.TypeSessionError, "confirm": upstream.TypeConfirmation,
	}
	t, ok := types[verb]
	if !ok {
		return e, fmt.Errorf("unknown word %q", verb)
	}
	e.Type = t
	switch verb {
	case "call":
		e.ID, e.Name, e.Input = rest[0], rest[1], []byte(`{}`)
	case "idle", "thread_idle":
		e.StopReason, e.EventIDs = upstream.StopRequiresAction, rest
	case "end":
		e.StopReason = rest[0]
	case "result":
		e.CallID = rest[0]
	case "tool_use":
		e.ID = rest[0]
	case "confirm":
		e.CallID, e.Permission = rest[0], rest[1]
	}
	if verb == "confirm" || verb == "interrupt" {
		if slices.Contains(rest, "queued") {
			e.ProcessedAt = time.Time{}
		}
	}
	return e, nil
}

// returned reads what a run has come to.
func (p *transcript) returned(id, how string) ran {
	c := p.ledger.byID[id]
	end := run.End{Handled: true}
	if c != nil && c.tool != nil && !c.tool.Idempotent {
		end.MayStand, end.Started, end.Revision = true, true, 1
	}
	unstarted := func() { end.Handled, end.Started, end.Revision = false, false, 0 }
	switch how {
	case "lost":
		end.Answer = run.Answer{Result: content.Error("its outcome is unknown"), Outcome: run.UnknownOutcome}
	case "panic":
		end.Answer = run.Answer{Result: content.Error("it panicked"), Outcome: run.Failed}
	case "stopped":
		end.Err = errInterrupted
	case "back": // before it came to anything
		unstarted()
		end.Err, end.MayStand, end.Late = errDrained, false, run.AnswerLate(c.tool, errors.New("the reason"))
	case "owned":
		unstarted()
		end.Err, end.MayStand = journal.ErrOwned, false
	case "late": // its handler goes on
		end.Answer, end.Err, end.GoesOn = run.AnswerLate(c.tool, nil), run.ErrDeadline, true
	case "silent": // the write of its start goes on
		unstarted()
		end.Answer, end.Err, end.GoesOn = run.AnswerLate(c.tool, nil), run.ErrDeadline, true
	case "unstarted": // its start could not be written
		unstarted()
		end.Answer, end.Err = run.AnswerLate(c.tool, nil), run.ErrDeadline
	case "written": // in the end
		end.Handled, end.Err = false, run.ErrDeadline
	case "error":
		end.Answer = run.Answer{Result: content.Error("it failed"), Outcome: run.Failed}
	default:
		end.Answer = run.Answer{Result: content.Text("done"), Outcome: run.OK}
	}
	return ran{id, end}
}

// failureOf reads an outcome: nothing, owned, a status, or anything else.
func failureOf(s string) error {
	if s == "" {
		return nil
	}
	if s == "large" {
		return &journal.TooLargeError{Size: 9 << 20, Limit: 8 << 20}
	}
	if s == "owned" {
		return journal.ErrOwned
	}
	if status, err := strconv.Atoi(s); err == nil {
		kind := "api_error"
		if status == 404 {
			kind = "not_found_error"
		}
		return &upstream.Error{Op: "send", Status: status, Type: kind}
	}
	return errors.New(s)
}

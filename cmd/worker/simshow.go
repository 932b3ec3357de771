package main

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"toolhand/internal/sim"
)

// maxNamed is how many sessions a command names, and how many calls a summary.
const maxNamed = 8

// command starts a worker for the simulation at an address.
func (c simCmd) command(at net.Addr, script *sim.Script) string {
	key, host := "any", at.String()
	if c.Key != "" {
		key = "KEY" // that of --key
	}
	if tcp, ok := at.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		host = fmt.Sprintf("127.0.0.1:%d", tcp.Port)
	}
	command := fmt.Sprintf("ANTHROPIC_API_KEY=%s ANTHROPIC_BASE_URL=http://%s worker run", key, host)
	for i, id := range script.Places() {
		if i == maxNamed {
			return command + " …"
		}
		command += " --session " + id
	}
	return command
}

// simShow shows what a simulation plays, and what became of it.
type simShow struct {
	*show
	command string       // starts a worker
	ends    bool         // with the script
	stopped func() error // not nil once the simulation is to stop
	over    atomic.Bool  // it stops by itself
}

func newSimShow(ctx context.Context, s *screen, command string, script *sim.Script, ends bool) *simShow {
	v := &simShow{show: newShow(s), command: command, ends: ends, stopped: ctx.Err}
	v.results, v.many = true, len(script.Places()) > 1
	return v
}

// into has a simulation show what happens from now on.
func (v *simShow) into(opts *sim.ServeOptions, at net.Addr) {
	opts.Server.OnEvent, opts.Server.OnRequest, opts.Server.OnAnswer, opts.OnEnd = v.event, v.request, v.answer, v.end
	v.line(part{bold, "simulated API at http://" + at.String()})
	v.say(part{}, part{plain, "It waits for a worker. Start one in another terminal, in the folder that has your tools.d:"})
	v.paste()
}

// paste prints the command that starts a worker, whole: it is to be pasted.
func (v *simShow) paste() { v.raw("\n  " + v.command + "\n\n") }

// request shows a stream that is asked for, and each send.
func (v *simShow) request(r sim.Request) {
	if r.Endpoint == sim.Stream {
		v.line(part{green, "worker  "}, part{plain, "here: it follows " + r.Session})
	}
	v.show.request(r)
}

// answer shows a request that was refused, and the end of a stream.
func (v *simShow) answer(r sim.Request) {
	switch {
	case r.Status >= 400:
		v.line(part{red, "refused "}, part{plain, fmt.Sprintf("%d: %s %s", r.Status, r.Method, r.Path)})
	case r.Endpoint == sim.Stream && v.stopped() == nil && !v.over.Load():
		v.line(part{yellow, "worker  "}, part{plain, "its stream of " + r.Session + " has ended"})
	}
}

// end shows what became of the calls, and what to do next.
func (v *simShow) end(t sim.Tally, failed error) {
	v.over.Store(v.ends || failed != nil)
	text := "none was made"
	if t.Calls > 0 {
		text = v.became(t)
	}
	v.empty()
	v.say(part{bold, fmt.Sprintf("calls   %3d   ", t.Calls)}, part{plain, text})
	for i, c := range t.Open {
		if i == maxNamed {
			v.line(part{plain, fmt.Sprintf("  and %d more", len(t.Open)-i)})
			break
		}
		v.say(part{yellow, "  not   "}, part{plain, fmt.Sprintf("%s (%s), called %s ago: %s", c.Tool, c.ID, time.Since(c.Since).Round(time.Second), why(c, t))})
	}
	if failed == nil || len(t.Open) > 0 {
		v.next(t)
	}
}

// became is what became of the calls, in numbers.
func (v *simShow) became(t sim.Tally) string {
	text := fmt.Sprintf("%d answered", t.Answered)
	if came := v.came(); came != "" {
		text += " (" + came + ")"
	}
	if t.Pointless > 0 {
		text += fmt.Sprintf(", %d interrupted", t.Pointless)
	}
	return text + fmt.Sprintf(", %d not", len(t.Open))
}

// next says what to do next.
func (v *simShow) next(t sim.Tally) {
	head := part{bold, "next    "}
	switch {
	case t.Opened == 0:
		v.say(head, part{plain, "no worker came. Start the simulation again, and in another terminal a worker:"})
		v.paste()
	case len(t.Open) > 0 && t.Streams == 0:
		v.say(head, part{plain, "look at the worker's log, and start it before the simulation is stopped:"})
		v.paste()
	case len(t.Open) > 0:
		v.say(head, part{plain, "'worker status' shows what the worker does with a call, and its log why it does not answer"})
	case v.ends:
		v.say(head, part{plain, "start the simulation again with other calls: the worker may stay up"})
	case v.stopped() != nil:
	default:
		v.say(head, part{plain, "the API stays up until Ctrl-C. Start it again with other calls: the worker may stay up meanwhile"})
	}
}

// why is why a call may have no answer.
func why(c sim.OpenCall, t sim.Tally) string {
	switch {
	case c.Asks:
		return "it waits for a user's permission, which a step confirm gives"
	case c.Refused != "":
		return "its result was refused: " + c.Refused
	case t.Opened == 0:
		return "no worker came"
	case t.Streams == 0:
		return "the worker has gone. One that comes back with the same journal answers it"
	}
	return "the worker is here: the tool may still run, or wait for a slot; or the worker leaves the tool alone (tools.unknown: ignore)"
}

package main

import (
	"fmt"

	"toolhand/internal/sim"
)

// greet says what comes.
func (d *demo) greet() {
	tools := "its example tools"
	if d.cmd.ToolsDir != "" {
		tools = "a copy of " + d.cmd.ToolsDir
	}
	d.show.say(part{}, part{plain, "toolhand demo: a simulated API plays a coding agent's session, and a worker runs the tools that the agent calls (" + tools + "). Then the worker is killed in the middle of a call, and comes back."})
}

// tell says what happens to the worker.
func (d *demo) tell(look style, text string) {
	d.show.print(d.show.below(part{look, "worker  "}, part{plain, text})...)
}

// summary closes the demo.
func (d *demo) summary() {
	n := func(e sim.Endpoint) int { return d.api.Count("", e) }
	t := d.api.Tally(d.script)
	d.show.empty()
	d.count("calls", t.Calls, d.show.came())
	d.starts()
	d.count("requests", n(""), fmt.Sprintf("%s, %d history, %s of results, %d other", plural(n(sim.Stream), "stream"), n(sim.List), plural(n(sim.Send), "send"),
		n("")-n(sim.Stream)-n(sim.List)-n(sim.Send)))
	d.count("left", len(t.Open), "calls without an accepted answer")
}

func (d *demo) count(what string, n int, text string) {
	d.show.say(part{bold, fmt.Sprintf("%-9s %3d   ", what, n)}, part{plain, text})
}

// starts says whether any tool was started twice for a call.
func (d *demo) starts() {
	all, twice := 0, 0
	for _, n := range d.stage.starts() {
		if all += n; n > 1 {
			twice++
		}
	}
	text := "starts of tools, counted by the tools: nothing ran twice"
	if twice > 0 {
		text = fmt.Sprintf("starts of tools, counted by the tools: %s ran more than once", plural(twice, "call"))
	}
	d.count("started", all, text)
}

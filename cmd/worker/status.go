package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/worker"
)

// adminFlags are those of a command that asks a running worker.
type adminFlags struct {
	configFlags
	Admin string `help:"The worker's admin address; stands before admin.listen." placeholder:"ADDR"`
	JSON  bool   `help:"Print JSON."`
}

// ask asks for a path of the admin address. What it answers is decoded into body, or
// with --json printed as it is: then done is true.
func (f adminFlags) ask(p *process, path string, body any) (done bool, err error) {
	cfg, _, err := f.load(p)
	if err != nil {
		return false, err
	}
	addr := cfg.Admin.Listen
	if f.Admin != "" {
		addr = f.Admin
	}
	if addr == "" {
		return false, worker.Usagef("admin.listen is off: name the worker's address with --admin")
	}
	text, err := worker.Ask(p.ctx, addr, path, cfg.Admin)
	if err != nil {
		return false, err
	}
	if f.JSON {
		_, err := p.stdout.Write(text)
		return true, err
	}
	if err := json.Unmarshal(text, body); err != nil {
		return false, fmt.Errorf("%s answers, and not as a worker does: %w", addr, err)
	}
	return false, nil
}

type statusCmd struct{ adminFlags }

// Help is the long help.
func (statusCmd) Help() string {
	return "Examples:\n\n  worker status\n  worker status --admin 127.0.0.1:9464 --json\n"
}

// Run asks a running worker what it is doing.
func (c statusCmd) Run(p *process) error {
	var st worker.Status
	if done, err := c.ask(p, "/api/v1/status", &st); done || err != nil {
		return err
	}
	return printStatus(p.stdout, st)
}

// printStatus shows a status at a glance.
func printStatus(out io.Writer, st worker.Status) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "worker\t%s, pid %d, up %s\n", st.Version["version"], st.Worker.PID, st.Worker.Uptime)
	if !st.Worker.RefusedSince.IsZero() {
		fmt.Fprintf(w, "\tthe API refuses the credential since %s\n", st.Worker.RefusedSince.Format(time.RFC3339))
	}
	fmt.Fprintf(w, "journal\t%d entries, %d bytes, %s\n", st.Journal.Entries, st.Journal.Bytes, st.Journal.Server.Server)
	if st.Journal.Problem != "" {
		fmt.Fprintf(w, "\tcan't be written: %s\n", st.Journal.Problem)
	}
	if st.Journal.Damage != nil {
		fmt.Fprintf(w, "\t%s\n", st.Journal.Damage)
	}
	for _, u := range st.Journal.Unserved {
		fmt.Fprintf(w, "\t%d of them of %s, which is not served\n", u.Entries, u.Session)
	}
	if more := st.Journal.UnservedSessions - len(st.Journal.Unserved); more > 0 {
		fmt.Fprintf(w, "\tand of %d more sessions that are not served\n", more)
	}
	fmt.Fprintf(w, "calls\t%d open", st.Calls.Open)
	if st.Calls.Held > 0 {
		fmt.Fprintf(w, ", %d held", st.Calls.Held)
	}
	for _, o := range run.Outcomes() {
		if n := st.Calls.Outcomes[o]; n > 0 {
			fmt.Fprintf(w, ", %d %s", n, o)
		}
	}
	fmt.Fprintf(w, "\nrequests\t%d stream, %d list, %d get, %d send\n", st.Worker.Requests["stream"], st.Worker.Requests["list"],
		st.Worker.Requests["get"], st.Worker.Requests["send"])
	fmt.Fprintf(w, "sessions\t%d\n", len(st.Sessions))
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range st.Sessions {
		fmt.Fprintf(w, "  %s\t%s\t%d calls", s.ID, s.State, len(s.Calls))
		if s.TurnEnd != "" && s.TurnEnd != "end_turn" {
			fmt.Fprintf(w, ", turn ended by %s", s.TurnEnd)
		}
		fmt.Fprintln(w)
		for _, c := range s.Calls {
			fmt.Fprintf(w, "    %s\t%s\t%s, since %s\n", c.ID, c.State, c.Tool, c.Received.Format(time.TimeOnly))
		}
		for _, k := range s.Kept {
			fmt.Fprintf(w, "    %s\tquarantined\t%s, %d bytes, since %s\n", k.ID, k.Tool, k.Bytes, k.At.Format(time.RFC3339))
		}
	}
	return w.Flush()
}

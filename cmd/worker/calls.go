package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"
	"time"

	"toolhand/internal/admin"
)

type callsCmd struct {
	List callsListCmd `cmd:"" help:"Show the last calls of a running worker."`
	Show callsShowCmd `cmd:"" help:"Show what the journal has of a call, with its result."`
}

// Help is the long help.
func (callsCmd) Help() string {
	return "Examples:\n\n  worker calls list --outcome error\n  worker calls show sevt_011CZkZAtmR3yMPDzynEDxu7\n"
}

type callsListCmd struct {
	adminFlags
	JSON    bool   `help:"Print JSON."`
	Tool    string `help:"Only calls of this tool." placeholder:"NAME"`
	Session string `help:"Only calls of this session." placeholder:"ID"`
	Outcome string `help:"Only calls with this outcome, such as ok or error." placeholder:"NAME"`
}

// Help is the long help.
func (callsListCmd) Help() string {
	return `The worker is asked at its admin address. It remembers the last 1,000 calls that have ended since it started, the last one first, and nothing of their inputs and results. Calls that are still open are shown by 'worker status'.

Examples:

  worker calls list
  worker calls list --tool run_tests --outcome deadline
  worker calls list --session sesn_011CZkZAtmR3yMPDzynEDxu7 --json
`
}

// Run lists the last calls.
func (c callsListCmd) Run(p *process) error {
	query := url.Values{}
	for key, value := range map[string]string{"tool": c.Tool, "session": c.Session, "outcome": c.Outcome} {
		if value != "" {
			query.Set(key, value)
		}
	}
	var told struct {
		Calls []admin.Call `json:"calls"`
	}
	body, err := c.get(p, "/api/v1/calls?"+query.Encode())
	if err != nil {
		return err
	}
	if c.JSON {
		_, err := p.stdout.Write(body)
		return err
	}
	if err := json.Unmarshal(body, &told); err != nil {
		return fmt.Errorf("the answer is not that of a worker: %w", err)
	}
	return printCalls(p.stdout, told.Calls)
}

func printCalls(out io.Writer, calls []admin.Call) error {
	if len(calls) == 0 {
		_, err := fmt.Fprintln(out, "no calls")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RECEIVED\tOUTCOME\tDURATION\tTOOL\tSESSION\tCALL\tCAUSE")
	for _, c := range calls {
		took := time.Duration(c.Duration * float64(time.Millisecond)).Round(100 * time.Microsecond)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Received.Local().Format(time.DateTime), printable(c.Outcome), took,
			printable(c.Tool), printable(c.Session), printable(c.ID), printable(c.Cause))
	}
	return w.Flush()
}

package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/worker"
)

// printStatus shows a status at a glance.
func printStatus(out io.Writer, st worker.Status, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "worker\t%s", st.Version["version"])
	if st.Worker != nil {
		fmt.Fprintf(w, ", pid %d, up %s", st.Worker.PID, st.Worker.Uptime)
	}
	fmt.Fprintln(w)
	if st.NATS != nil {
		fmt.Fprintf(w, "nats\t%s\n", st.NATS.Server)
	}
	if st.Journal != nil {
		printJournal(w, *st.Journal)
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
	fmt.Fprintf(w, "\ntools\t%d\n", len(st.Tools))
	if st.Worker != nil && st.Worker.Requests != nil {
		r := st.Worker.Requests
		fmt.Fprintf(w, "requests\t%d stream, %d list, %d get, %d send\n", r["stream"], r["list"], r["get"], r["send"])
		fmt.Fprintf(w, "sessions\t%d\n", len(st.Sessions))
	}
	for _, c := range st.Calls.Serving {
		fmt.Fprintf(w, "  %s\t%s\tsince %s\n", c.ID, c.Tool, c.Since.Local().Format(time.TimeOnly))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range st.Sessions {
		printSession(w, s, now)
	}
	return w.Flush()
}

func printJournal(w io.Writer, st worker.JournalStatus) {
	fmt.Fprintf(w, "journal\t%d entries, %d bytes, %s\n", st.Entries, st.Bytes, st.Server.Server)
	if st.Problem != "" {
		fmt.Fprintf(w, "\tcan't be written: %s\n", st.Problem)
	}
	if st.Damage != nil {
		fmt.Fprintf(w, "\t%s\n", st.Damage)
	}
	for _, u := range st.Unserved {
		fmt.Fprintf(w, "\t%d of them of %s, which is not served\n", u.Entries, u.Session)
	}
	if more := st.UnservedSessions - len(st.Unserved); more > 0 {
		fmt.Fprintf(w, "\tand of %d more sessions that are not served\n", more)
	}
}

func printSession(w io.Writer, s worker.SessionStatus, now time.Time) {
	fmt.Fprintf(w, "  %s\t%s\t%s\t%d calls", s.ID, s.State, s.AttachedBy, len(s.Calls))
	if s.TurnEnd != "" && s.TurnEnd != "end_turn" {
		fmt.Fprintf(w, ", turn ended by %s", s.TurnEnd)
	}
	if s.LastError != "" {
		fmt.Fprintf(w, ": %s", printable(s.LastError))
	}
	fmt.Fprintln(w)
	for _, c := range s.Calls {
		fmt.Fprintf(w, "    %s\t%s\t%s, %s\n", c.ID, c.State, c.Tool, times(c.Received, c.Deadline, now))
	}
	for _, k := range s.Kept {
		fmt.Fprintf(w, "    %s\tquarantined\t%s, %d bytes, since %s\n", k.ID, k.Tool, k.Bytes, k.At.Format(time.RFC3339))
	}
}

// times says since when a call is there, and how long it has.
func times(received, deadline, now time.Time) string {
	text := "since " + received.Local().Format(time.TimeOnly)
	switch left := deadline.Sub(now).Round(time.Second); {
	case deadline.IsZero():
	case left >= 0:
		text += fmt.Sprintf(", %s left", left)
	default:
		text += fmt.Sprintf(", %s past its deadline", -left)
	}
	return text
}

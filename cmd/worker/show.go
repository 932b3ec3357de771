package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"toolhand/internal/loop"
	"toolhand/internal/sim"
	"toolhand/internal/upstream"
)

// maxShown is how many characters of an input or a result the demo shows.
const maxShown = 96

// show prints what happens in the demo, readable at a glance. Its methods may be
// called by many goroutines.
type show struct {
	mu      sync.Mutex
	w       io.Writer     // guarded by mu
	reports []loop.Report // guarded by mu
	sends   []int         // guarded by mu; the results of each send
}

func newShow(w io.Writer) *show { return &show{w: w} }

// event shows what the agent's side does.
func (s *show) event(e sim.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var v struct {
		Name       string
		Input      json.RawMessage
		Content    []struct{ Text string }
		StopReason struct{ Type string } `json:"stop_reason"`
	}
	if json.Unmarshal(e.Data, &v) != nil {
		return
	}
	switch e.Type {
	case "user.message":
		if !e.ProcessedAt.IsZero() && len(v.Content) > 0 {
			fmt.Fprintf(s.w, "user    %s\n", v.Content[0].Text)
		}
	case "agent.message":
		if len(v.Content) > 0 {
			fmt.Fprintf(s.w, "\nagent   %s\n", v.Content[0].Text)
		}
	case upstream.TypeCall:
		fmt.Fprintf(s.w, "  call    %-14s %s\n", v.Name, clip(string(v.Input)))
	case upstream.TypeIdle:
		if v.StopReason.Type != upstream.StopRequiresAction {
			fmt.Fprintf(s.w, "\nagent   (%s)\n", strings.ReplaceAll(v.StopReason.Type, "_", " "))
		}
	}
}

// request shows each send.
func (s *show) request(r sim.Request) {
	if r.Endpoint != sim.Send {
		return
	}
	var body struct{ Events []json.RawMessage }
	if json.Unmarshal(r.Body, &body) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sends = append(s.sends, len(body.Events))
	fmt.Fprintf(s.w, "  send    %s in one request\n", plural(len(body.Events), "result"))
}

// report shows a call's result when the API has accepted it.
func (s *show) report(r loop.Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports = append(s.reports, r)
	lines := strings.Split(strings.TrimRight(text(r), "\n"), "\n")
	fmt.Fprintf(s.w, "  result  %-14s %-12s %8s  %s\n", r.Tool, r.Outcome, took(r).Round(time.Millisecond), clip(lines[0]))
	for i, line := range lines[1:] {
		if i == 3 {
			fmt.Fprintf(s.w, "%48s(%s more)\n", "", plural(len(lines)-4, "line"))
			break
		}
		fmt.Fprintf(s.w, "%48s%s\n", "", clip(line))
	}
}

// text is a result's text.
func text(r loop.Report) string {
	var blocks []struct{ Type, Text string }
	if json.Unmarshal(r.Result.Content, &blocks) != nil {
		return ""
	}
	var b strings.Builder
	for _, block := range blocks {
		if block.Type != "text" {
			fmt.Fprintf(&b, "[%s]\n", block.Type)
			continue
		}
		b.WriteString(block.Text)
		b.WriteByte('\n')
	}
	return b.String()
}

// table closes the demo.
func (s *show) table(n upstream.Counts, left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	outcomes := map[loop.Outcome]int{}
	for _, r := range s.reports {
		outcomes[r.Outcome]++
	}
	fmt.Fprintln(s.w)
	w := tabwriter.NewWriter(s.w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "calls\t%d\t", len(s.reports))
	for _, o := range []loop.Outcome{loop.OK, loop.Invalid, loop.Deadline, loop.UnknownTool, loop.Failed, loop.Unavailable} {
		if outcomes[o] > 0 {
			fmt.Fprintf(w, "%d %s  ", outcomes[o], o)
		}
	}
	fmt.Fprintf(w, "\nrequests\t%d\t%d stream, %d history, %d sends of results, %d other\n",
		n.Streams+n.Lists+n.Gets+n.Sends, n.Streams, n.Lists, n.Sends, n.Gets)
	fmt.Fprintf(w, "left\t%d\tcalls without an accepted answer\n", left)
	w.Flush()
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// clip shortens a line to what fits.
func clip(s string) string {
	r := []rune(strings.ReplaceAll(s, "\t", "  "))
	if len(r) > maxShown {
		return string(r[:maxShown-1]) + "…"
	}
	return string(r)
}

// took is how long a tool ran, or a call without a tool took to be answered.
func took(r loop.Report) time.Duration {
	if r.Ran > 0 {
		return r.Ran
	}
	return r.Duration
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/sim"
	"toolhand/internal/upstream"
)

// The demo fits into 100 columns: an input begins at inputAt, a result at
// resultAt.
const (
	columns  = 100
	inputAt  = 25
	resultAt = 48
	maxLines = 4 // of a result
)

// show prints what happens in the demo, readable at a glance. Its methods may be
// called by many goroutines.
type show struct {
	mu      sync.Mutex
	w       io.Writer    // guarded by mu
	lost    func(error)  // told when w takes no more
	reports []run.Report // guarded by mu
}

// newShow prints to w, and tells lost when that does not work.
func newShow(w io.Writer, lost func(error)) *show { return &show{w: w, lost: lost} }

// printf prints; mu is not held.
func (s *show) printf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.print(format, args...)
}

// print prints; mu is held.
func (s *show) print(format string, args ...any) {
	if _, err := fmt.Fprintf(s.w, format, args...); err != nil {
		s.lost(err)
	}
}

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
			s.print("user    %s\n", v.Content[0].Text)
		}
	case "agent.message":
		if len(v.Content) > 0 {
			s.print("\nagent   %s\n", v.Content[0].Text)
		}
	case upstream.TypeCall:
		s.print("  call    %-14s %s\n", v.Name, clip(string(v.Input), columns-inputAt))
	case upstream.TypeIdle:
		if v.StopReason.Type != upstream.StopRequiresAction {
			s.print("\nagent   (%s)\n", strings.ReplaceAll(v.StopReason.Type, "_", " "))
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
	s.print("  send    %s in one request\n", plural(len(body.Events), "result"))
}

// report shows a call's result when the API has accepted it.
func (s *show) report(r run.Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports = append(s.reports, r)
	lines := slices.DeleteFunc(strings.Split(text(r), "\n"), func(l string) bool { return strings.TrimSpace(l) == "" })
	if len(lines) == 1 {
		lines = wrap(lines[0], columns-resultAt)
	}
	if len(lines) > maxLines {
		lines = append(lines[:maxLines-1], "("+plural(len(lines)-maxLines+1, "line")+" more)")
	}
	head := fmt.Sprintf("  result  %-14s %-12s %8s  ", r.Tool, r.Outcome, took(r).Round(time.Millisecond))
	for _, line := range lines {
		s.print("%-*s%s\n", resultAt, head, clip(line, columns-resultAt))
		head = ""
	}
}

// text is a result's text.
func text(r run.Report) string {
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
	outcomes := map[run.Outcome]int{}
	for _, r := range s.reports {
		outcomes[r.Outcome]++
	}
	var each []string
	for _, o := range []run.Outcome{run.OK, run.Failed, run.Invalid, run.Deadline, run.UnknownTool, run.Unavailable, run.UnknownOutcome} {
		if outcomes[o] > 0 {
			each = append(each, fmt.Sprintf("%d %s", outcomes[o], o))
		}
	}
	s.print("\ncalls     %3d   %s\n", len(s.reports), strings.Join(each, ", "))
	s.print("requests  %3d   %s, %d history, %s of results, %d other\n",
		n.Streams+n.Lists+n.Gets+n.Sends, plural(int(n.Streams), "stream"), n.Lists, plural(int(n.Sends), "send"), n.Gets)
	s.print("left      %3d   calls without an accepted answer\n", left)
}

// took is how long a tool ran, or a call without a tool took to be answered.
func took(r run.Report) time.Duration {
	if r.Phases.Run > 0 {
		return r.Phases.Run
	}
	return r.Duration
}

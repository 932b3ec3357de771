package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"toolhand/internal/loop"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
)

type toolsCmd struct {
	List   toolsListCmd   `cmd:"" help:"Show the tools."`
	Check  toolsCheckCmd  `cmd:"" help:"Check the manifests and say what is wrong with them."`
	Call   toolsCallCmd   `cmd:"" help:"Run one tool once, through the same path as a real call."`
	Export toolsExportCmd `cmd:"" help:"Print the agent's tools array."`
	Schema toolsSchemaCmd `cmd:"" help:"Print the JSON Schema of a manifest."`
	Serve  toolsServeCmd  `cmd:"" help:"Offer the tools over NATS to the workers of a fleet."`
}

// Help is the long help.
func (toolsCmd) Help() string {
	return "Example:\n\n  worker tools check --tools-dir ./tools.d\n"
}

type toolsListCmd struct {
	configFlags
	JSON bool `help:"Print JSON."`
}

// Help is the long help.
func (toolsListCmd) Help() string {
	return "Examples:\n\n  worker tools list\n  worker tools list --tools-dir ./tools.d --json\n"
}

// Run lists the tools.
func (c toolsListCmd) Run(p *process) error {
	b, err := c.openTools(p, listWait)
	if err != nil {
		return err
	}
	defer b.close()
	asked := b.discover(p.ctx)
	// What is known is shown, and the exit code says that it is not all.
	if err := c.print(p, b.set); err != nil {
		return err
	}
	return errors.Join(b.missing(), asked)
}

func (c toolsListCmd) print(p *process, set *registry.Set) error {
	if c.JSON {
		all := []toolStatus{}
		for _, t := range set.Tools() {
			all = append(all, statusOf(t))
		}
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(all)
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tHANDLER\tDEADLINE\tCONCURRENCY\tIDEMPOTENT\tDESCRIPTION")
	for _, t := range set.Tools() {
		concurrency := "-"
		if t.Concurrency > 0 {
			concurrency = fmt.Sprint(t.Concurrency)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%t\t%s\n", t.Name, kindOf(t), t.DeadlineText, concurrency, t.Idempotent, firstLine(t.Description))
	}
	return w.Flush()
}

// kindOf is the handler of a tool, and who announces it.
func kindOf(t *registry.Tool) string {
	by, count := t.Announcers()
	switch count {
	case 0:
		return t.Kind
	case 1:
		return fmt.Sprintf("%s, announced by %s", t.Kind, by[0].Service)
	}
	return fmt.Sprintf("%s, announced by %s (%d of them)", t.Kind, by[0].Service, count)
}

// firstLine is the beginning of a text, fit for a table. Of a tool that is
// announced it may hold anything.
func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	s = printable(s)
	if r := []rune(s); len(r) > 60 {
		s = string(r[:59]) + "…"
	}
	return s
}

// printable is a text without what could move the cursor of a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

type toolsCheckCmd struct {
	configFlags
	Live bool `help:"Ask each handler too whether its other end is there; the exit code is 1 if one is not."`
}

// Help is the long help.
func (toolsCheckCmd) Help() string {
	return `Everything that is wrong is listed with file, line and column; the exit code is 2 then. Nothing is run and no server is needed.

--live asks each handler too, without running a tool: whether a program is still there, whether a web service takes connections, whether somebody listens on a NATS subject. Whether it works well is not asked.

Examples:

  worker tools check --tools-dir ./tools.d
  worker tools check --live
`
}

// Run checks the manifests.
func (c toolsCheckCmd) Run(p *process) error {
	wait := time.Duration(0)
	if c.Live {
		wait = listWait
	}
	b, err := c.openTools(p, wait)
	if err != nil {
		return err
	}
	defer b.close()
	groups := ""
	if n := b.set.Groups(); n > 0 {
		groups = " and " + plural(n, "group") + " of an MCP server's tools"
	}
	fmt.Fprintf(p.stdout, "%s: %s%s, all well\n", b.dir, plural(len(b.set.Tools()), "tool"), groups)
	if c.Live {
		return errors.Join(checkLive(p.ctx, p.stdout, b.set.Tools()), b.missing())
	}
	return nil
}

type toolsExportCmd struct{ configFlags }

// Help is the long help.
func (toolsExportCmd) Help() string {
	return `The output is what an agent's definition takes as its tools.

Example:

  worker tools export --tools-dir ./tools.d > tools.json
`
}

// Run prints the agent's tools array.
func (c toolsExportCmd) Run(p *process) error {
	b, err := c.openTools(p, listWait)
	if err != nil {
		return err
	}
	defer b.close()
	if err := errors.Join(b.missing(), b.discover(p.ctx)); err != nil {
		return err
	}
	if n := len(b.set.Tools()); n > registry.MaxTools {
		fmt.Fprintf(p.stderr, "warning: these are %d tools, and an agent may have %d\n", n, registry.MaxTools)
	}
	out, err := b.set.Export()
	if err != nil {
		return usageError{err}
	}
	_, err = p.stdout.Write(out)
	return err
}

type toolsCallCmd struct {
	configFlags
	Name  string `arg:"" help:"The tool's name."`
	Input string `arg:"" optional:"" help:"The input as JSON (default: {}); - reads it from standard input."`
}

// Help is the long help.
func (toolsCallCmd) Help() string {
	return `The input is checked, the deadline holds, and what the tool prints becomes the result that the agent would get, which is printed. The exit code is 1 if it is an error. Neither a key nor the API is needed.

Examples:

  worker tools call word_count '{"text": "to be or not to be"}'
  echo '{"path": "sample/notes.txt"}' | worker tools call read_file -
`
}

// Run runs one tool once.
func (c toolsCallCmd) Run(p *process) error {
	input := []byte(c.Input)
	switch {
	case c.Input == "-":
		var err error
		if input, err = io.ReadAll(p.stdin); err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
	case len(bytes.TrimSpace(input)) == 0:
		input = []byte("{}")
	}
	if !json.Valid(input) {
		return usageError{fmt.Errorf("the input is not valid JSON: %s", jsonProblem(input))}
	}
	b, err := c.openTools(p, 0)
	if err != nil {
		return err
	}
	defer b.close()
	// Only who asks for a tool of an MCP server waits for one.
	if b.set.Groups() > 0 && !slices.Contains(names(b.set), c.Name) {
		if err := b.load(listWait); err != nil {
			return err
		}
	}
	if !slices.Contains(names(b.set), c.Name) {
		if err := b.discover(p.ctx); err != nil {
			return err
		}
	}
	set := b.set
	if _, ok := set.Lookup(c.Name); !ok {
		return usageError{fmt.Errorf("unknown tool %q; there are: %s", c.Name, strings.Join(names(set), ", "))}
	}
	var report loop.Report
	err = underSignals(p, false, func(s *signals) error {
		var err error
		report, err = loop.CallOnce(s.stop, set, c.Name, input)
		if errors.As(err, new(stopSignal)) {
			err = errInterrupted
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	if err := printResult(p.stdout, report.Result); err != nil {
		return fmt.Errorf("the result can't be printed: %w", err)
	}
	fmt.Fprintf(p.stderr, "%s in %s\n", report.Outcome, report.Duration.Round(time.Millisecond))
	if report.Result.IsError {
		return errSaid
	}
	return nil
}

var errInterrupted = errors.New("interrupted; the tool was stopped with all that it started")

func names(set *registry.Set) []string {
	var all []string
	for _, t := range set.Tools() {
		all = append(all, t.Name)
	}
	slices.Sort(all)
	return all
}

// jsonProblem says where JSON is broken.
func jsonProblem(input []byte) string {
	var v any
	err := json.Unmarshal(input, &v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Sprintf("%s at byte %d", syntax, syntax.Offset)
	}
	return fmt.Sprint(err)
}

// printResult prints text as it is, and any other block as JSON.
func printResult(w io.Writer, r tools.Result) error {
	var blocks []json.RawMessage
	if err := json.Unmarshal(r.Content, &blocks); err != nil {
		return err
	}
	for _, b := range blocks {
		var text struct{ Type, Text string }
		if json.Unmarshal(b, &text) == nil && text.Type == "text" {
			b = []byte(strings.TrimSuffix(text.Text, "\n"))
		}
		if _, err := fmt.Fprintln(w, string(b)); err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"toolhand/internal/registry"
	"toolhand/internal/worker"
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

// openTools loads the tools for a command that ends soon, and waits for the lists of
// MCP servers for at most wait; zero leaves them alone. The caller closes them.
func (f toolFlags) openTools(p *process, wait time.Duration) (*worker.Worker, error) {
	cfg, _, err := f.load(p)
	if err != nil {
		return nil, err
	}
	opts, err := f.quiet(p, cfg)
	if err != nil {
		return nil, err
	}
	opts.Wait = wait
	w, err := worker.Open(p.ctx, cfg, opts)
	if err != nil {
		return nil, err
	}
	for _, text := range w.Set().Warnings() {
		fmt.Fprintln(p.stderr, "warning:", text)
	}
	return w, nil
}

type toolsListCmd struct {
	toolFlags
	JSON bool `help:"Print JSON."`
}

// Help is the long help.
func (toolsListCmd) Help() string {
	return "Examples:\n\n  worker tools list\n  worker tools list --tools-dir ./tools.d --json\n"
}

// Run lists the tools.
func (c toolsListCmd) Run(p *process) error {
	w, err := c.openTools(p, worker.ListWait)
	if err != nil {
		return err
	}
	defer w.Close()
	asked := w.Discover(p.ctx)
	// What is known is shown, and the exit code says that it is not all.
	if err := c.print(p, w); err != nil {
		return err
	}
	return errors.Join(w.Missing(), asked)
}

func (c toolsListCmd) print(p *process, w *worker.Worker) error {
	if c.JSON {
		enc := json.NewEncoder(p.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(w.Tools())
	}
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tHANDLER\tDEADLINE\tCONCURRENCY\tIDEMPOTENT\tDESCRIPTION")
	for _, t := range w.Set().Tools() {
		concurrency := "-"
		if t.Concurrency > 0 {
			concurrency = fmt.Sprint(t.Concurrency)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%t\t%s\n", t.Name, kindOf(t), t.DeadlineText, concurrency, t.Idempotent, firstLine(t.Description))
	}
	return table.Flush()
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

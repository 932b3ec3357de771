package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"toolhand/internal/registry"
	"toolhand/internal/tools"
	"toolhand/internal/worker"
)

type toolsCheckCmd struct {
	toolFlags
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
		wait = worker.ListWait
	}
	w, err := c.openTools(p, wait)
	if err != nil {
		return err
	}
	defer w.Close()
	groups := ""
	if n := w.Set().Groups(); n > 0 {
		groups = " and " + plural(n, "group") + " of an MCP server's tools"
	}
	list := w.Set().Tools()
	fmt.Fprintf(p.stdout, "%s: %s%s, all well\n", w.Config().Tools.Dir, plural(len(list), "tool"), groups)
	if !c.Live {
		return nil
	}
	return errors.Join(printLive(p.stdout, list, worker.Live(p.ctx, list)), w.Missing())
}

// errNotThere is why `tools check --live` fails; it has said which.
var errNotThere = errors.New("not every handler is there")

// printLive prints what each handler said when it was asked.
func printLive(out io.Writer, list []*registry.Tool, said []error) error {
	var failed error
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, t := range list {
		text := "there"
		switch err := said[i]; {
		case errors.Is(err, tools.ErrNotTold):
			text = err.Error()
		case err != nil:
			text, failed = "not there: "+err.Error(), errNotThere
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", t.Name, t.Kind, text)
	}
	return errors.Join(w.Flush(), failed)
}

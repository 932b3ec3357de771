package main

import (
	"errors"
	"fmt"

	"toolhand/internal/registry"
	"toolhand/internal/worker"
)

type toolsExportCmd struct{ toolFlags }

// Help is the long help.
func (toolsExportCmd) Help() string {
	return `The output is what an agent's definition takes as its tools.

Example:

  worker tools export --tools-dir ./tools.d > tools.json
`
}

// Run prints the agent's tools array.
func (c toolsExportCmd) Run(p *process) error {
	w, err := c.openTools(p, worker.ListWait)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := errors.Join(w.Missing(), w.Discover(p.ctx)); err != nil {
		return err
	}
	if n := len(w.Set().Tools()); n > registry.MaxTools {
		fmt.Fprintf(p.stderr, "warning: these are %d tools, and an agent may have %d\n", n, registry.MaxTools)
	}
	out, err := w.Set().Export()
	if err != nil {
		return worker.Usagef("%w", err)
	}
	_, err = p.stdout.Write(out)
	return err
}

type toolsSchemaCmd struct{}

// Help is the long help.
func (toolsSchemaCmd) Help() string {
	return `As worker config schema, for the files of tools.d. In tools.d itself the schema is no manifest, for its name ends with .json:

  # yaml-language-server: $schema=tool.schema.json

Example:

  worker tools schema > tools.d/tool.schema.json
`
}

// Run prints the schema.
func (toolsSchemaCmd) Run(p *process) error {
	_, err := p.stdout.Write(registry.ManifestSchema())
	return err
}

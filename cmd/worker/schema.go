package main

import (
	"toolhand/internal/config"
	"toolhand/internal/registry"
)

type configSchemaCmd struct{}

// Help is the long help.
func (configSchemaCmd) Help() string {
	return `An editor that knows it completes keys, explains them and marks what is wrong; the check is the program's own. The first line of a worker.yaml names it, for editors with the YAML language server:

  # yaml-language-server: $schema=worker.schema.json

Example:

  worker config schema > worker.schema.json
`
}

// Run prints the schema.
func (configSchemaCmd) Run(p *process) error {
	_, err := p.stdout.Write(config.Schema())
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

package main

import "toolhand/internal/config"

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

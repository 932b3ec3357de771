package main

import (
	"fmt"
	"log/slog"
	"os"

	"toolhand/internal/config"
	"toolhand/internal/worker"
)

type configCmd struct {
	Check  configCheckCmd  `cmd:"" help:"Check a configuration and say what is wrong with it."`
	Schema configSchemaCmd `cmd:"" help:"Print the JSON Schema of worker.yaml."`
}

// Help is the long help.
func (configCmd) Help() string {
	return "Example:\n\n  worker config check --config /etc/toolhand/worker.yaml\n"
}

type configCheckCmd struct {
	configFlags
	File string `arg:"" optional:"" help:"The file to check (default: as for run)."`
}

// Help is the long help.
func (configCheckCmd) Help() string {
	return `Everything that is wrong is listed with file, line and column; the exit code is 2 then.

Examples:

  worker config check
  worker config check deploy/systemd/worker.yaml
`
}

// Run checks the configuration, and the files that it names.
func (c configCheckCmd) Run(p *process) error {
	if c.File != "" {
		c.Config = c.File
	}
	cfg, path, err := c.load(p)
	if err != nil {
		return err
	}
	if err := enoughRoom(cfg); err != nil {
		return err
	}
	for _, file := range []struct{ key, path string }{
		{"upstream.api_key_file", cfg.Upstream.APIKeyFile},
		{"admin.token_file", cfg.Admin.TokenFile},
		{"nats.token_file", cfg.NATS.TokenFile},
	} {
		if file.path == "" {
			continue
		}
		if _, err := config.ReadKeyFile(file.path); err != nil {
			return worker.Usagef("%s: %w", file.key, err)
		}
	}
	if info, err := os.Stat(cfg.Tools.Dir); err != nil || !info.IsDir() {
		fmt.Fprintf(p.stderr, "warning: tools.dir: %s is no folder: worker run will not start without it\n", cfg.Tools.Dir)
	}
	for section, pair := range map[string][2]string{"nats": {cfg.NATS.TLSCertFile, cfg.NATS.TLSKeyFile}, "admin": {cfg.Admin.TLSCertFile, cfg.Admin.TLSKeyFile}} {
		if _, err := worker.ServerTLS(section, pair[0], pair[1], slog.New(slog.DiscardHandler)); err != nil {
			return err
		}
	}
	for _, text := range config.Exposed(cfg) {
		fmt.Fprintln(p.stderr, "warning:", text)
	}
	for _, key := range config.Inert(cfg) {
		fmt.Fprintf(p.stderr, "warning: %s has no effect in this version\n", key)
	}
	if path == "" {
		fmt.Fprintln(p.stdout, "there is no configuration file: the defaults are in force")
		return nil
	}
	fmt.Fprintf(p.stdout, "%s: ok\n", path)
	return nil
}

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

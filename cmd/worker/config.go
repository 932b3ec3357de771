package main

import (
	"fmt"
	"os"

	"toolhand/internal/config"
)

// configFlags name the configuration; every command that needs one has them.
type configFlags struct {
	Config   string `help:"Configuration file (default: ./worker.yaml, /etc/toolhand/worker.yaml, or the defaults)." placeholder:"FILE" env:"TOOLHAND_CONFIG"`
	ToolsDir string `help:"Folder of the tools' manifests; stands before tools.dir." placeholder:"DIR" env:"TOOLHAND_TOOLS_DIR"`
}

// logFlags say how to log.
type logFlags struct {
	LogLevel  string `help:"Log level: debug, info, warn, error; stands before log.level." placeholder:"LEVEL" env:"TOOLHAND_LOG_LEVEL"`
	LogFormat string `help:"Log format: auto, tint, json; stands before log.format." placeholder:"FORMAT" env:"TOOLHAND_LOG_FORMAT"`
}

// load reads the configuration and lays environment and flags over it. It
// returns the file that it came from, empty for the defaults.
func (f configFlags) load(p *process) (*config.Config, string, error) {
	path, err := config.Find(f.Config, p.lookupEnv)
	if err != nil {
		return nil, "", usageError{err}
	}
	cfg, err := config.Load(path)
	if err != nil {
		return nil, path, usageError{err}
	}
	if err := cfg.Environ(p.lookupEnv); err != nil {
		return nil, path, usageError{err}
	}
	if f.ToolsDir != "" {
		cfg.Tools.Dir = f.ToolsDir
	}
	return cfg, path, nil
}

// apply lays the flags over the configuration.
func (f logFlags) apply(cfg *config.Config) {
	if f.LogLevel != "" {
		cfg.Log.Level = f.LogLevel
	}
	if f.LogFormat != "" {
		cfg.Log.Format = f.LogFormat
	}
}

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Check a configuration and say what is wrong with it."`
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
	for _, file := range []struct{ key, path string }{
		{"upstream.api_key_file", cfg.Upstream.APIKeyFile},
		{"admin.token_file", cfg.Admin.TokenFile},
		{"nats.token_file", cfg.NATS.TokenFile},
	} {
		if file.path == "" {
			continue
		}
		if _, err := config.ReadKeyFile(file.path); err != nil {
			return usageError{fmt.Errorf("%s: %w", file.key, err)}
		}
	}
	if info, err := os.Stat(cfg.Tools.Dir); err != nil || !info.IsDir() {
		fmt.Fprintf(p.stderr, "warning: tools.dir: %s is no folder: worker run will not start without it\n", cfg.Tools.Dir)
	}
	for _, key := range config.Inert(cfg) {
		fmt.Fprintf(p.stderr, "warning: %s has no effect in this version\n", key)
	}
	if path == "" {
		path = "no file found: the defaults"
	}
	fmt.Fprintf(p.stdout, "%s: ok\n", path)
	return nil
}

package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"

	"toolhand/internal/config"
	"toolhand/internal/telemetry"
)

// configFlags name the configuration; every command that needs one has them.
type configFlags struct {
	Config   string `help:"Configuration file (default: ./worker.yaml, /etc/toolhand/worker.yaml, or the defaults)." placeholder:"FILE" env:"TOOLHAND_CONFIG"`
	ToolsDir string `help:"Folder of the tools' manifests; stands before tools.dir." placeholder:"DIR" env:"TOOLHAND_TOOLS_DIR"`
}

// logFlags say how to log.
type logFlags struct {
	LogLevel  string `help:"Log level: debug, info, warn or error; stands before log.level." placeholder:"LEVEL" env:"TOOLHAND_LOG_LEVEL"`
	LogFormat string `help:"Log format: auto, tint or json; stands before log.format." placeholder:"FORMAT" env:"TOOLHAND_LOG_FORMAT"`
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

// logger lays the flags over the configuration and makes the log.
func (f logFlags) logger(p *process, cfg *config.Config, secrets *telemetry.Secrets) (*slog.Logger, error) {
	cfg.Log.Level = cmp.Or(f.LogLevel, cfg.Log.Level)
	cfg.Log.Format = cmp.Or(f.LogFormat, cfg.Log.Format)
	log, err := newLogger(p, cfg.Log, secrets)
	if err != nil {
		// The file's own values were checked when it was read.
		return nil, usageError{fmt.Errorf("--log-level, --log-format, TOOLHAND_LOG_LEVEL or TOOLHAND_LOG_FORMAT: %w", err)}
	}
	return log, nil
}

// newLogger makes the log of a command.
func newLogger(p *process, cfg config.Log, secrets *telemetry.Secrets) (*slog.Logger, error) {
	f, ok := p.stderr.(*os.File)
	return telemetry.NewLogger(telemetry.Redact(p.stderr, secrets), cfg.Level, cfg.Format, ok && telemetry.IsTerminal(f))
}

// enoughRoom says when not all of the sessions that are named can be served.
func enoughRoom(cfg *config.Config) error {
	if n := len(cfg.Sessions.IDs); n > cfg.Sessions.MaxActive {
		return usageError{fmt.Errorf("%d sessions are named, and sessions.max_active allows %d: raise it, or name fewer", n, cfg.Sessions.MaxActive)}
	}
	return nil
}

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
			return usageError{fmt.Errorf("%s: %w", file.key, err)}
		}
	}
	if info, err := os.Stat(cfg.Tools.Dir); err != nil || !info.IsDir() {
		fmt.Fprintf(p.stderr, "warning: tools.dir: %s is no folder: worker run will not start without it\n", cfg.Tools.Dir)
	}
	for section, pair := range map[string][2]string{"nats": {cfg.NATS.TLSCertFile, cfg.NATS.TLSKeyFile}, "admin": {cfg.Admin.TLSCertFile, cfg.Admin.TLSKeyFile}} {
		if _, err := serverTLS(section, pair[0], pair[1], slog.New(slog.DiscardHandler)); err != nil {
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

package main

import (
	"cmp"
	"os"

	"toolhand/internal/config"
	"toolhand/internal/telemetry"
	"toolhand/internal/worker"
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

// toolFlags are those of a command that ends soon: its log is warnings, unless it is
// asked for more.
type toolFlags struct {
	configFlags
	logFlags
}

// quiet is options, at the level warn where no flag says otherwise.
func (f toolFlags) quiet(p *process, cfg *config.Config) (worker.Options, error) {
	cfg.Log.Level = "warn"
	return f.options(p, cfg)
}

// load reads the configuration and lays environment and flags over it. It
// returns the file that it came from, empty for the defaults.
func (f configFlags) load(p *process) (*config.Config, string, error) {
	path, err := config.Find(f.Config, p.lookupEnv)
	if err != nil {
		return nil, "", worker.Usagef("%w", err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		return nil, path, worker.Usagef("%w", err)
	}
	if err := cfg.Environ(p.lookupEnv); err != nil {
		return nil, path, worker.Usagef("%w", err)
	}
	if f.ToolsDir != "" {
		cfg.Tools.Dir = f.ToolsDir
	}
	return cfg, path, nil
}

// options lays the flags over the configuration, and makes the log of it; see
// [process.options].
func (f logFlags) options(p *process, cfg *config.Config) (worker.Options, error) {
	cfg.Log.Level = cmp.Or(f.LogLevel, cfg.Log.Level)
	cfg.Log.Format = cmp.Or(f.LogFormat, cfg.Log.Format)
	opts, err := p.options(cfg.Log)
	if err != nil {
		// The file's own values were checked when it was read.
		return opts, worker.Usagef("--log-level, --log-format, TOOLHAND_LOG_LEVEL or TOOLHAND_LOG_FORMAT: %w", err)
	}
	return opts, nil
}

// options are what every worker of this process is opened with: the log, the build
// and the environment.
func (p *process) options(cfg config.Log) (worker.Options, error) {
	v, c := versions()
	opts := worker.Options{Version: v, Commit: c, Secrets: &telemetry.Secrets{}, LookupEnv: p.lookupEnv}
	f, ok := p.stderr.(*os.File)
	var err error
	opts.Log, err = telemetry.NewLogger(telemetry.Redact(p.stderr, opts.Secrets), cfg.Level, cfg.Format, ok && telemetry.IsTerminal(f))
	return opts, err
}

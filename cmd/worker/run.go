package main

import (
	"slices"

	"toolhand/internal/config"
	"toolhand/internal/worker"
)

type runCmd struct {
	configFlags
	logFlags
	Session []string `help:"Serve this session; repeatable, stands before sessions.ids." placeholder:"ID" env:"TOOLHAND_SESSION"`
}

// Help is the long help.
func (runCmd) Help() string {
	return `Signals: SIGTERM or SIGINT drains (no new calls, running ones finish, within shutdown.grace), a second one stops at once; SIGHUP reloads tools.d and the key file, or drains if the terminal is gone.

Examples:

  ANTHROPIC_API_KEY=... worker run --session sesn_011CZkZAtmR3yMPDzynEDxu7
  worker run --config /etc/toolhand/worker.yaml
`
}

// Run is the daemon.
func (c runCmd) Run(p *process) error {
	return underSignals(p, true, func(s *signals) error {
		cfg, path, err := c.load(p)
		if err != nil {
			return err
		}
		if err := c.sessions(cfg); err != nil {
			return err
		}
		opts, err := c.options(p, cfg)
		if err != nil {
			return err
		}
		opts.Purpose, opts.Source, opts.Sole = worker.Sessions, path, len(c.Session) > 0
		return serve(s, cfg, opts)
	})
}

// sessions lays the flag over the configuration.
func (c runCmd) sessions(cfg *config.Config) error {
	// An empty variable is one that is not set.
	ids := slices.DeleteFunc(c.Session, func(id string) bool { return id == "" })
	for i, id := range ids {
		if err := config.SessionID(id); err != nil {
			return worker.Usagef("--session or TOOLHAND_SESSION: %w", err)
		}
		if slices.Contains(ids[:i], id) {
			return worker.Usagef("--session or TOOLHAND_SESSION: %s stands there twice", id)
		}
	}
	if len(ids) > 0 {
		cfg.Sessions.IDs = ids
	}
	return enoughRoom(cfg)
}

// enoughRoom says when not all of the sessions that are named can be served.
func enoughRoom(cfg *config.Config) error {
	if n := len(cfg.Sessions.IDs); n > cfg.Sessions.MaxActive {
		return worker.Usagef("%d sessions are named, and sessions.max_active allows %d: raise it, or name fewer", n, cfg.Sessions.MaxActive)
	}
	return nil
}

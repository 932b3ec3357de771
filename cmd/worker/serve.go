package main

import "toolhand/internal/worker"

type toolsServeCmd struct {
	configFlags
	logFlags
	Queue bool `help:"Work off the job queue too: the calls of nats tools with queue: true."`
}

// Help is the long help.
func (toolsServeCmd) Help() string {
	return `The tools of tools.d are offered on the NATS server at nats.url as micro services on toolhand.tool.NAME; tools whose own handler is nats are not. Workers that serve sessions use them by a manifest with handler: { nats: {} }, or by tools.discover. Neither a key nor the API is needed.

Signals: as for run.

Example, beside a worker whose nats.listen is 127.0.0.1:4222:

  worker tools serve --config serve.yaml     # nats: { url: "nats://127.0.0.1:4222" }
`
}

// Run serves the tools until a signal says otherwise.
func (c toolsServeCmd) Run(p *process) error {
	return underSignals(p, true, func(s *signals) error {
		cfg, path, err := c.load(p)
		if err != nil {
			return err
		}
		opts, err := c.options(p, cfg)
		if err != nil {
			return err
		}
		opts.Purpose, opts.Source, opts.Queue = worker.Fleet, path, c.Queue
		return serve(s, cfg, opts)
	})
}

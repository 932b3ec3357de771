package main

import (
	"errors"
	"fmt"
	"time"

	"toolhand/internal/config"
	"toolhand/internal/registry"
	"toolhand/internal/telemetry"
	"toolhand/internal/tools"
)

// listWait is how long the MCP servers of groups are waited for to list their
// tools: by a worker that starts, and by a command that shows them.
const listWait = 10 * time.Second

// A toolbox is the tools of the configuration, for a command that ends soon.
type toolbox struct {
	dir     string
	set     *registry.Set
	opts    registry.Options
	procs   *tools.Processes
	servers *tools.Servers
	nats    *natsLink
	queue   *tools.Queue
}

// openTools loads the tools, and waits for the lists of MCP servers for at most
// wait; zero leaves them alone. The caller closes the toolbox.
func (f configFlags) openTools(p *process, wait time.Duration) (*toolbox, error) {
	cfg, _, err := f.load(p)
	if err != nil {
		return nil, err
	}
	log, err := newLogger(p, config.Log{Level: "warn", Format: cfg.Log.Format}, &telemetry.Secrets{})
	if err != nil {
		return nil, err
	}
	b := &toolbox{dir: cfg.Tools.Dir, nats: &natsLink{cfg: cfg.NATS}}
	if b.procs, err = tools.NewProcesses(log); err != nil {
		return nil, fmt.Errorf("processes of tools can't be kept: %w", err)
	}
	b.servers = tools.NewServers(b.procs, log)
	b.queue = newQueue(cfg, b.nats.conn, log)
	b.opts = registry.Options{Dir: cfg.Tools.Dir, Processes: b.procs, Servers: b.servers, NATS: b.nats.conn, Queue: b.queue, Discover: discoverOf(cfg), Log: log, LookupEnv: p.lookupEnv}
	if err := b.load(wait); err != nil {
		return nil, errors.Join(err, b.close())
	}
	for _, text := range b.set.Warnings() {
		fmt.Fprintln(p.stderr, "warning:", text)
	}
	return b, nil
}

func (b *toolbox) load(wait time.Duration) (err error) {
	b.opts.Wait = wait
	b.set, err = registry.Load(b.opts)
	return err
}

// missing is an error where the tools of some MCP server are not known.
func (b *toolbox) missing() error { return errors.Join(b.set.Missing()...) }

func (b *toolbox) close() error {
	b.queue.Close()
	b.nats.close()
	return errors.Join(b.servers.Close(), b.procs.Close())
}

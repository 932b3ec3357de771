package worker

import (
	"cmp"
	"context"
	"regexp"
	"time"

	"toolhand/internal/admin"
	"toolhand/internal/loop/run"
	"toolhand/internal/serve"
)

// offers is the service of a worker for the Fleet.
type offers struct {
	*Worker
	server *serve.Server
}

func (o *offers) open(ctx context.Context) error {
	if err := o.openBus(ctx); err != nil {
		return err
	}
	o.server = serve.New(serve.Config{
		Conn: o.bus.Conn(), Set: o.Set, Version: semantic(o.opts.Version), Log: o.log, Report: o.ended,
		Queue: o.opts.Queue, Concurrency: o.cfg.Tools.Concurrency,
		Once: run.Once{Runner: run.Runner{Slots: o.slots, Circuits: o.circuits, Log: o.log}, Lookup: o.lookup},
	})
	return nil
}

var semver = regexp.MustCompile(`^v?(\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?)$`)

// semantic is a version as NATS services want it.
func semantic(version string) string {
	if m := semver.FindStringSubmatch(version); m != nil {
		return m[1]
	}
	return "0.0.0"
}

func (o *offers) greet() {
	o.log.Info("serving tools", "version", o.opts.Version, "config", cmp.Or(o.opts.Source, "defaults"), "tools", len(o.server.Tools()), "server", o.bus.Status().Server)
}

func (o *offers) serve(drain, hard context.Context) (left int, err error) {
	return o.server.Serve(drain, hard, time.Duration(o.cfg.Shutdown.Grace))
}

func (o *offers) reloaded(context.Context) {
	if err := o.server.Reload(); err != nil {
		o.log.Error("what was offered before stays", "error", err)
	}
}

func (*offers) stuck() []admin.Reason { return nil }

func (o *offers) unready() []admin.Reason {
	if err := o.bus.Healthy(); err != nil {
		return []admin.Reason{{Check: "nats", Text: err.Error()}}
	}
	return nil
}

func (o *offers) show(page *admin.Server) {
	page.Section("worker", func() any { return o.processStatus() })
	page.Section("nats", func() any { return o.bus.Status() })
	page.Section("calls", func() any {
		open := o.server.Calls()
		return CallsStatus{Open: len(open), Outcomes: o.stats.snapshot(), Serving: open}
	})
}

func (*offers) renew(context.Context) error { return nil }
func (*offers) close()                      {}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/alecthomas/kong"

	"toolhand/internal/admin"
	"toolhand/internal/worker"
)

// adminFlags are those of a command that asks a running worker.
type adminFlags struct {
	configFlags
	Admin string `help:"The worker's admin address; stands before admin.listen." placeholder:"ADDR"`
}

// ask asks the running worker for a path; see [worker.Ask].
func (f adminFlags) ask(p *process, method, path, body string, timeout time.Duration) (worker.Answer, error) {
	cfg, _, err := f.load(p)
	if err != nil {
		return worker.Answer{}, err
	}
	addr := cfg.Admin.Listen
	if f.Admin != "" {
		addr = f.Admin
	}
	if addr == "" {
		return worker.Answer{}, worker.Usagef("admin.listen is off: name the worker's address with --admin")
	}
	return worker.Ask(p.ctx, addr, method, path, body, timeout, cfg.Admin)
}

// get asks for a path whose answer is no health: any other status than 200 is an error.
func (f adminFlags) get(p *process, path string) ([]byte, error) {
	got, err := f.ask(p, http.MethodGet, path, "", worker.AskTimeout)
	if err == nil && got.Status != http.StatusOK {
		err = fmt.Errorf("the worker answers with %d %s", got.Status, http.StatusText(got.Status))
	}
	return got.Body, err
}

type statusCmd struct {
	adminFlags
	JSON   bool       `help:"Print JSON."`
	Health healthFlag `help:"Print only which checks of /readyz fail (--health=live: of /healthz), for the probes of containers."`
}

// healthFlag is --health, or --health=live.
type healthFlag string

// IsBool lets it stand without a value.
func (*healthFlag) IsBool() bool { return true }

// Decode reads it.
func (h *healthFlag) Decode(ctx *kong.DecodeContext) error {
	*h = "/readyz"
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return nil
	}
	switch value := fmt.Sprint(ctx.Scan.Pop().Value); value {
	case "live":
		*h = "/healthz"
	case "ready", "true":
	default:
		return fmt.Errorf("expected --health, or --health=live, found %q", value)
	}
	return nil
}

// Help is the long help.
func (statusCmd) Help() string {
	return `The exit code is 0 if the worker is ready, and 1 if it is not, or does not answer: the checks that fail are named.

Examples:

  worker status
  worker status --admin 127.0.0.1:9464 --json
  worker status --health=live
`
}

// errNotReady is why a worker that answers is not well; what fails was told.
var errNotReady = fmt.Errorf("%w: the worker is not ready", errSaid)

// Run asks a running worker what it is doing.
func (c statusCmd) Run(p *process) error {
	if c.Health != "" {
		return c.health(p, p.stdout, string(c.Health))
	}
	body, err := c.get(p, "/api/v1/status")
	if err != nil {
		return err
	}
	if c.JSON {
		if _, err := p.stdout.Write(body); err != nil {
			return err
		}
		return c.health(p, p.stderr, "/readyz")
	}
	var st worker.Status
	if err := json.Unmarshal(body, &st); err != nil {
		return fmt.Errorf("the answer is not that of a worker: %w", err)
	}
	return errors.Join(printStatus(p.stdout, st, time.Now()), c.health(p, p.stdout, "/readyz"))
}

// health prints which checks fail, a line each.
func (c statusCmd) health(p *process, out io.Writer, path string) error {
	got, err := c.ask(p, http.MethodGet, path, "", worker.AskTimeout)
	if err != nil {
		return err
	}
	var h admin.Health
	if err := json.Unmarshal(got.Body, &h); err != nil {
		return fmt.Errorf("the answer is not that of a worker: %w", err)
	}
	for _, r := range h.Reasons {
		text := ""
		if r.Text != "" {
			text = ": " + printable(r.Text)
		}
		if !r.Since.IsZero() {
			text += ", since " + r.Since.Format(time.RFC3339)
		}
		if _, err := fmt.Fprintf(out, "%s fails%s\n", r.Check, text); err != nil {
			return err
		}
	}
	if got.Status != http.StatusOK {
		return errNotReady
	}
	return nil
}

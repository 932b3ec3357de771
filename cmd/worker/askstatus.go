package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"toolhand/internal/config"
	"toolhand/internal/loop"
)

// statusTimeout bounds the question to a running worker.
const statusTimeout = 5 * time.Second

// adminFlags are those of a command that asks a running worker.
type adminFlags struct {
	configFlags
	Admin string `help:"The worker's admin address; stands before admin.listen." placeholder:"ADDR"`
	JSON  bool   `help:"Print JSON."`
}

// ask asks for a path of the admin address. What it answers is decoded into body, or
// with --json printed as it is: then done is true.
func (f adminFlags) ask(p *process, path string, body any) (done bool, err error) {
	cfg, _, err := f.load(p)
	if err != nil {
		return false, err
	}
	addr := cfg.Admin.Listen
	if f.Admin != "" {
		addr = f.Admin
	}
	if addr == "" {
		return false, usageError{errors.New("admin.listen is off: name the worker's address with --admin")}
	}
	text, err := askAdmin(p.ctx, addr, path, cfg.Admin)
	if err != nil {
		return false, err
	}
	if f.JSON {
		_, err := p.stdout.Write(text)
		return true, err
	}
	if err := json.Unmarshal(text, body); err != nil {
		return false, fmt.Errorf("%s answers, and not as a worker does: %w", addr, err)
	}
	return false, nil
}

type statusCmd struct{ adminFlags }

// Help is the long help.
func (statusCmd) Help() string {
	return "Examples:\n\n  worker status\n  worker status --admin 127.0.0.1:9464 --json\n"
}

// told is what a worker says of itself, as far as it is shown.
type told struct {
	Version  map[string]string `json:"version"`
	Worker   workerStatus      `json:"worker"`
	Journal  journalStatus     `json:"journal"`
	Sessions []loop.Status     `json:"sessions"`
	Calls    callsStatus       `json:"calls"`
}

// Run asks a running worker what it is doing.
func (c statusCmd) Run(p *process) error {
	var t told
	if done, err := c.ask(p, "/api/v1/status", &t); done || err != nil {
		return err
	}
	return t.print(p.stdout)
}

// adminClient is the client for the admin address addr: host:port, or a URL. Our own
// address shows the certificate of the configuration, under whatever name it is reached;
// each address of this machine counts as ours.
func adminClient(addr string, cfg config.Admin) (base string, client *http.Client, err error) {
	scheme, where, named := strings.Cut(strings.TrimSuffix(addr, "/"), "://")
	if !named {
		scheme, where = "http", scheme
		if cfg.TLSCertFile != "" {
			scheme = "https"
		}
	}
	own := where == cfg.Listen
	if host, port, err := net.SplitHostPort(where); err == nil {
		where = net.JoinHostPort(dialed(host), port)
		own = own || config.Loopback(where)
	}
	var trust *tls.Config
	switch {
	case scheme != "https":
	case own && cfg.TLSCertFile != "":
		if trust, err = ownTLS(cfg.TLSCertFile); err != nil {
			return "", nil, usageError{fmt.Errorf("admin.tls_cert_file: %w", err)}
		}
	default:
		trust = otherTLS(cfg.TLSCertFile)
	}
	return scheme + "://" + where, &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: trust}}, nil
}

func askAdmin(ctx context.Context, addr, path string, cfg config.Admin) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	base, client, err := adminClient(addr, cfg)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return nil, usageError{fmt.Errorf("the address %q: %w", addr, err)}
	}
	if cfg.TokenFile != "" {
		token, err := config.ReadKeyFile(cfg.TokenFile)
		if err != nil {
			return nil, usageError{fmt.Errorf("admin.token_file: %w", err)}
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no worker answers at %s (admin.listen, or --admin): %w", addr, errors.Unwrap(err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the answer of %s broke off: %w", addr, err)
	case res.StatusCode == http.StatusUnauthorized:
		return nil, fmt.Errorf("%s asks for another token than admin.token_file has", addr)
	case res.StatusCode == http.StatusBadRequest:
		var said struct{ Error string }
		_ = json.Unmarshal(body, &said) // without it the status alone is told
		return nil, usageError{fmt.Errorf("%s answers: %s", addr, cmp.Or(said.Error, res.Status))}
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answers with %s", addr, res.Status)
	}
	return body, nil
}

// print shows a status at a glance.
func (t told) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "worker\t%s, pid %d, up %s\n", t.Version["version"], t.Worker.PID, t.Worker.Uptime)
	if !t.Worker.RefusedSince.IsZero() {
		fmt.Fprintf(w, "\tthe API refuses the credential since %s\n", t.Worker.RefusedSince.Format(time.RFC3339))
	}
	fmt.Fprintf(w, "journal\t%d entries, %d bytes, %s\n", t.Journal.Entries, t.Journal.Bytes, t.Journal.Server.Server)
	if t.Journal.Problem != "" {
		fmt.Fprintf(w, "\tcan't be written: %s\n", t.Journal.Problem)
	}
	if t.Journal.Damage != nil {
		fmt.Fprintf(w, "\t%s\n", t.Journal.Damage)
	}
	for _, u := range t.Journal.Unserved {
		fmt.Fprintf(w, "\t%d of them of %s, which is not served\n", u.Entries, u.Session)
	}
	if more := t.Journal.UnservedSessions - len(t.Journal.Unserved); more > 0 {
		fmt.Fprintf(w, "\tand of %d more sessions that are not served\n", more)
	}
	fmt.Fprintf(w, "calls\t%d open", t.Calls.Open)
	if t.Calls.Held > 0 {
		fmt.Fprintf(w, ", %d held", t.Calls.Held)
	}
	for _, o := range loop.Outcomes() {
		if n := t.Calls.Outcomes[o]; n > 0 {
			fmt.Fprintf(w, ", %d %s", n, o)
		}
	}
	fmt.Fprintf(w, "\nrequests\t%d stream, %d list, %d get, %d send\n", t.Worker.Requests["stream"], t.Worker.Requests["list"],
		t.Worker.Requests["get"], t.Worker.Requests["send"])
	fmt.Fprintf(w, "sessions\t%d\n", len(t.Sessions))
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range t.Sessions {
		fmt.Fprintf(w, "  %s\t%s\t%d calls", s.ID, s.State, len(s.Calls))
		if s.TurnEnd != "" && s.TurnEnd != "end_turn" {
			fmt.Fprintf(w, ", turn ended by %s", s.TurnEnd)
		}
		fmt.Fprintln(w)
		for _, c := range s.Calls {
			fmt.Fprintf(w, "    %s\t%s\t%s, since %s\n", c.ID, c.State, c.Tool, c.Received.Format(time.TimeOnly))
		}
		for _, k := range s.Kept {
			fmt.Fprintf(w, "    %s\tquarantined\t%s, %d bytes, since %s\n", k.ID, k.Tool, k.Bytes, k.At.Format(time.RFC3339))
		}
	}
	return w.Flush()
}

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"toolhand/bench/control"
	"toolhand/bench/stage"
)

// pair is the API and one competitor, fresh processes both.
type pair struct {
	api, who *control.Child
	store    string
	log      *os.File
}

// competitor is who is visited.
type competitor struct {
	name    string
	kind    string
	journal string
}

// competitors take turns in this order.
var competitors = []competitor{
	{theLimit, "limit", ""}, {theSDK, "sdk", ""}, {theWorker, "worker", "off"},
	{withInterval, "worker", "interval"}, {withAlways, "worker", "always"},
}

// open starts a pair. over2 has it speak HTTP/2 over TLS.
func (o settings) open(c competitor, over2 bool) (*pair, error) {
	p := &pair{store: filepath.Join(o.dir, "store")}
	if err := os.RemoveAll(p.store); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(p.store, 0o700); err != nil {
		return nil, err
	}
	var err error
	if p.log, err = os.OpenFile(cmp.Or(o.log, os.DevNull), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	cfg := stage.Config{TLS: over2, CertFile: filepath.Join(o.dir, "cert.pem")}
	if p.api, err = start(p.log, nil, "sim", cfg); err != nil {
		return nil, err
	}
	r := role{Kind: c.kind, Journal: c.journal, StoreDir: p.store}
	if err := p.api.Do("url", struct{}{}, &r.URL); err != nil {
		p.close()
		return nil, err
	}
	var env []string
	if over2 {
		env = append(env, "SSL_CERT_FILE="+cfg.CertFile)
	}
	if p.who, err = start(p.log, env, "competitor", r); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func start(log *os.File, env []string, name string, with any) (*control.Child, error) {
	arg, err := json.Marshal(with)
	if err != nil {
		return nil, err
	}
	return control.Start(log, env, name, string(arg))
}

// attachStep is how many sessions are attached at once: each takes a connection
// for its history besides that of its stream, and a process has only so many.
const attachStep = 200

// attach has the competitor serve the first n sessions.
func (p *pair) attach(n int) error {
	for k := min(n, attachStep); ; k = min(n, k+attachStep) {
		// The simulation makes a session when it is first asked for by name.
		if err := p.api.Do("make", k, nil); err != nil {
			return err
		}
		if err := p.who.Do("serve", k, nil); err != nil {
			return err
		}
		if err := p.api.Do("attach", stage.Attach{Sessions: k}, nil); err != nil {
			return err
		}
		if k == n {
			return nil
		}
	}
}

func (p *pair) round(r stage.Round) (out stage.Outcome, err error) {
	err = p.api.Do("round", r, &out)
	if err == nil && out.Calls != r.Sessions*r.Turns*r.Calls {
		err = fmt.Errorf("%d calls were answered, expected %d", out.Calls, r.Sessions*r.Turns*r.Calls)
	}
	return out, err
}

func (p *pair) usage(collect bool) (u control.Usage, err error) {
	return u, p.who.Do("usage", collect, &u)
}

func (p *pair) close() {
	if p.who != nil {
		p.who.Stop()
	}
	p.api.Stop()
	p.log.Close()
	os.RemoveAll(p.store)
}

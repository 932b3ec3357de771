package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// start takes the time from the start of the real worker to its readiness.
func (o settings) startup(f *figures) (int, error) {
	p, err := o.open(competitor{name: theLimit, kind: "limit"}, false)
	if err != nil {
		return 0, err
	}
	defer p.close()
	var url string
	if err := p.api.Do("url", struct{}{}, &url); err != nil {
		return 0, err
	}
	if err := p.api.Do("make", 1, nil); err != nil {
		return 0, err
	}
	dir := filepath.Join(o.dir, "start")
	if err := os.RemoveAll(dir); err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := os.MkdirAll(filepath.Join(dir, "tools.d"), 0o700); err != nil {
		return 0, err
	}
	disturbed := 0
	for range o.starts {
		n, err := o.undisturbed(f, theWorker, func() (map[figure]float64, error) {
			around := listen()
			ms, pid, err := o.startOnce(dir, url)
			return map[figure]float64{startReady: ms, othersUsed: around.others(p.api.PID(), p.who.PID(), pid)}, err
		})
		disturbed += n
		if err != nil {
			return disturbed, err
		}
	}
	return disturbed, nil
}

const manifest = `name: echo
description: Answers with its input.
input_schema: { type: object }
handler: { exec: { command: [cat] } }
`

// startOnce starts the worker on the store of the last start, if there was one,
// and asks for its readiness until it is ready.
func (o settings) startOnce(dir, url string) (ms float64, pid int, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, err
	}
	admin := ln.Addr().String()
	ln.Close() // the port stays free for this moment
	config := fmt.Sprintf("upstream: { base_url: %q, requests_per_minute: 0 }\nsessions: { ids: [sesn_bench0] }\nnats: { store_dir: store }\nadmin: { listen: %q }\n", url, admin)
	if err := os.WriteFile(filepath.Join(dir, "worker.yaml"), []byte(config), 0o600); err != nil {
		return 0, 0, err
	}
	if err := os.WriteFile(filepath.Join(dir, "tools.d", "echo.yaml"), []byte(manifest), 0o600); err != nil {
		return 0, 0, err
	}
	worker, err := filepath.Abs(o.worker)
	if err != nil {
		return 0, 0, err
	}
	cmd := exec.Command(worker, "run", "--config", filepath.Join(dir, "worker.yaml"))
	cmd.Env = append(os.Environ(), "ANTHROPIC_API_KEY=any")
	hc := &http.Client{Transport: &http.Transport{}, Timeout: time.Second}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, fmt.Errorf("%w: build it with make build", err)
	}
	pid = cmd.Process.Pid
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()
	}()
	for time.Since(begin) < 10*time.Second {
		res, err := hc.Get("http://" + admin + "/readyz")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return float64(time.Since(begin)) / float64(time.Millisecond), pid, nil
			}
		}
		time.Sleep(500 * time.Microsecond)
	}
	return 0, pid, fmt.Errorf("the worker was not ready within 10s")
}

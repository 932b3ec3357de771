package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/nats-io/nats.go"

	"toolhand/bench/control"
	"toolhand/internal/config"
	"toolhand/internal/registry"
	"toolhand/internal/telemetry"
	"toolhand/internal/tools"
	"toolhand/internal/worker"
)

// handlerKinds are the kinds of handlers that are measured, each beside the same
// call made by hand.
var handlerKinds = []string{"exec", "http", "nats", "mcp"}

const handlerInput = `{"path":"tests/unit","verbose":true,"seed":9007199254740993}`

// handlers takes what each kind of handler adds.
func (o settings) handlers(f *figures) (int, error) {
	p, err := o.open(competitor{name: theLimit, kind: "limit"}, false)
	if err != nil {
		return 0, err
	}
	defer p.close()
	w := handlerWork{Dir: filepath.Join(o.dir, "handlers"), Calls: o.calls}
	if err := p.api.Do("url", struct{}{}, &w.URL); err != nil {
		return 0, err
	}
	peer, err := start(p.log, nil, "nats", struct{}{})
	if err != nil {
		return 0, err
	}
	defer peer.Stop()
	if err := peer.Do("url", struct{}{}, &w.NATS); err != nil {
		return 0, err
	}
	child, err := start(p.log, nil, "handlers", w)
	if err != nil {
		return 0, err
	}
	defer child.Stop()
	disturbed := 0
	for range o.rounds {
		for _, kind := range handlerKinds {
			n, err := o.undisturbed(f, kind, func() (map[figure]float64, error) {
				around := listen()
				got := map[figure]float64{}
				err := child.Do("measure", kind, &got)
				if len(got) > 0 {
					got[othersUsed] = around.others(p.api.PID(), p.who.PID(), peer.PID(), child.PID())
				}
				return got, err
			})
			disturbed += n
			if err != nil {
				return disturbed, err
			}
		}
	}
	return disturbed, nil
}

// handlerWork is what the process of the handlers is started with.
type handlerWork struct {
	Dir   string `json:"dir"`
	URL   string `json:"url"`
	NATS  string `json:"nats"`
	Calls int    `json:"calls"`
}

// handlers is the process that makes calls with handlers and by hand, by turns.
func handlersMain(args string) error {
	var w handlerWork
	if err := json.Unmarshal([]byte(args), &w); err != nil {
		return err
	}
	if err := os.MkdirAll(w.Dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(w.Dir)
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	nc, err := nats.Connect(w.NATS)
	if err != nil {
		return err
	}
	defer nc.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// Not CommandContext: closing the session ends it.
	session, err := mcp.NewClient(&mcp.Implementation{Name: "bench", Version: "1"}, nil).
		Connect(context.Background(), &mcp.CommandTransport{Command: exec.Command(self, "mcp", "{}")}, nil)
	if err != nil {
		return err
	}
	defer session.Close()
	sides := map[string]sides{"exec": w.execSides(), "http": w.httpSides(),
		"nats": {fmt.Sprintf("nats: { subject: %s }", natsSubject), askNATS(nc)},
		"mcp":  {fmt.Sprintf("mcp: { command: [%q, mcp, %q], tool: echo }", self, "{}"), askMCP(session)}}
	opened, err := w.open(sides, log)
	if err != nil {
		return err
	}
	set := opened.Set()
	err = control.Serve(os.Stdin, os.Stdout, control.Actions{
		"measure": control.Action(func(kind string) (any, error) {
			tool, ok := set.Lookup(kind + "_tool")
			if !ok {
				return nil, fmt.Errorf("there is no handler %q", kind)
			}
			return w.compare(sides[kind], tool)
		}),
	})
	return errors.Join(err, opened.Close())
}

// open writes a manifest for each kind, and opens a worker that has them. It serves
// nothing: its handlers are called.
func (w handlerWork) open(all map[string]sides, log *slog.Logger) (*worker.Worker, error) {
	for kind, s := range all {
		text := fmt.Sprintf("name: %s_tool\ndescription: For the benchmark.\ninput_schema: { type: object }\nhandler: { %s }\n", kind, s.handler)
		if err := os.WriteFile(filepath.Join(w.Dir, kind+".yaml"), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	cfg := config.Default()
	cfg.Tools.Dir, cfg.NATS.URL, cfg.Admin.Listen = w.Dir, w.NATS, ""
	return worker.Open(context.Background(), &cfg, worker.Options{
		Purpose: worker.Fleet, Log: log, Secrets: &telemetry.Secrets{}, LookupEnv: os.LookupEnv})
}

// sides are a handler, as a manifest names it, and the same call made by hand.
type sides struct {
	handler string
	byHand  func() (string, error)
}

func (handlerWork) execSides() sides {
	return sides{"exec: { command: [cat] }", func() (string, error) {
		cmd := exec.Command("cat")
		cmd.Stdin = strings.NewReader(handlerInput)
		out, err := cmd.Output()
		return string(out), err
	}}
}

func (w handlerWork) httpSides() sides {
	hc := pooled()
	return sides{fmt.Sprintf("http: { url: %q }", w.URL+"/echo"), func() (string, error) {
		res, err := hc.Post(w.URL+"/echo", "application/json", bytes.NewReader([]byte(handlerInput)))
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		out, err := io.ReadAll(res.Body)
		return string(out), err
	}}
}

// compare makes calls by hand and by the tool, one after the other.
func (w handlerWork) compare(s sides, tool *registry.Tool) (map[figure]float64, error) {
	var bare, own []float64
	micros := func(since time.Time) float64 { return float64(time.Since(since)) / float64(time.Microsecond) }
	for i := range w.Calls + 10 {
		begin := time.Now()
		out, err := s.byHand()
		if err != nil || out != handlerInput {
			return nil, fmt.Errorf("by hand: %q, %w", out, err)
		}
		byHand := micros(begin)
		begin = time.Now()
		if err := w.call(tool, i); err != nil {
			return nil, err
		}
		if i >= 10 { // to warm up
			bare, own = append(bare, byHand), append(own, micros(begin))
		}
	}
	slices.Sort(bare)
	slices.Sort(own)
	b, o := quantile(bare, 0.5), quantile(own, 0.5)
	return map[figure]float64{handlerBare: b, handlerOwn: o, handlerAdded: o - b}, nil
}

// call checks an input and lets the tool's handler have it, as the loop does.
func (handlerWork) call(tool *registry.Tool, n int) error {
	c := tools.Call{
		ID: fmt.Sprintf("sevt_bench%d", n), Tool: tool.Name, Session: "sesn_bench0",
		Input: json.RawMessage(handlerInput), Deadline: time.Now().Add(tool.Deadline),
	}
	ctx, cancel := context.WithDeadline(context.Background(), c.Deadline)
	defer cancel()
	if err := tool.Validate(ctx, c.Input); err != nil {
		return err
	}
	result, err := tool.Handler.Call(ctx, c)
	if err != nil {
		return err
	}
	if result.IsError || !bytes.Contains(result.Content, []byte("9007199254740993")) {
		return fmt.Errorf("the tool answered %s", result.Content)
	}
	return nil
}

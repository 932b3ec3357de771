package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/tools"
	"toolhand/internal/worker"
)

type toolsCallCmd struct {
	toolFlags
	Name  string `arg:"" help:"The tool's name."`
	Input string `arg:"" optional:"" help:"The input as JSON (default: {}); - reads it from standard input."`
}

// Help is the long help.
func (toolsCallCmd) Help() string {
	return `The input is checked, the deadline holds, and what the tool prints becomes the result that the agent would get, which is printed. What it writes to stderr is shown on stderr, or in the result where it fails. The exit code is 1 if it is an error. Neither a key nor the API is needed.

Examples:

  worker tools call word_count '{"text": "to be or not to be"}'
  echo '{"path": "sample/notes.txt"}' | worker tools call read_file -
`
}

// Run runs one tool once.
func (c toolsCallCmd) Run(p *process) error {
	input := []byte(c.Input)
	switch {
	case c.Input == "-":
		var err error
		if input, err = io.ReadAll(p.stdin); err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
	case len(bytes.TrimSpace(input)) == 0:
		input = []byte("{}")
	}
	if !json.Valid(input) {
		return worker.Usagef("the input is not valid JSON: %s", jsonProblem(input))
	}
	w, err := c.openTools(p, 0)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Find(p.ctx, c.Name); err != nil {
		return err
	}
	var report run.Report
	err = underSignals(p, false, func(s *signals) error {
		var err error
		report, err = w.Call(tools.WithWatcher(s.stop, watcher(p.stderr)), c.Name, input)
		if errors.As(err, new(stopSignal)) {
			err = errInterrupted
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	if err := printResult(p.stdout, report.Result); err != nil {
		return fmt.Errorf("the result can't be printed: %w", err)
	}
	fmt.Fprintf(p.stderr, "%s in %s\n", report.Outcome, report.Duration.Round(time.Millisecond))
	if report.Result.IsError {
		return errSaid
	}
	return nil
}

// watcher prints what the result of a call does not show.
func watcher(w io.Writer) tools.Watcher {
	return tools.Watcher{
		Stderr: func(text string) { fmt.Fprintf(w, "[stderr]\n%s\n", strings.TrimSuffix(text, "\n")) },
		Warn:   func(text string) { fmt.Fprintln(w, "warning:", text) },
	}
}

var errInterrupted = errors.New("interrupted; the tool was stopped with all that it started")

// jsonProblem says where JSON is broken.
func jsonProblem(input []byte) string {
	var v any
	err := json.Unmarshal(input, &v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Sprintf("%s at byte %d", syntax, syntax.Offset)
	}
	return fmt.Sprint(err)
}

// printResult prints text as it is, and any other block as JSON.
func printResult(w io.Writer, r tools.Result) error {
	var blocks []json.RawMessage
	if err := json.Unmarshal(r.Content, &blocks); err != nil {
		return err
	}
	for _, b := range blocks {
		var text struct{ Type, Text string }
		if json.Unmarshal(b, &text) == nil && text.Type == "text" {
			b = []byte(strings.TrimSuffix(text.Text, "\n"))
		}
		if _, err := fmt.Fprintln(w, string(b)); err != nil {
			return err
		}
	}
	return nil
}

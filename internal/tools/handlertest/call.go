package handlertest

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"toolhand/internal/tools"
	toolexec "toolhand/internal/tools/exec"
	"toolhand/internal/tools/proctree"
)

// NewCall is a call with a minute to its deadline.
func NewCall(input string) tools.Call {
	return tools.Call{ID: "sevt_1", Tool: "shell", Session: "sesn_1", Input: []byte(input), Deadline: time.Now().Add(time.Minute)}
}

// Call makes one call that must have a result, and returns its text.
func Call(t *testing.T, h tools.Handler, input string) (text string, isError bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := h.Call(ctx, NewCall(input))
	if err != nil {
		t.Fatalf("call: %v", err)
	}
	return Text(t, r), r.IsError
}

// Text is the text of a result that must have one text block.
func Text(t testing.TB, r tools.Result) string {
	t.Helper()
	var blocks []struct{ Type, Text string }
	if err := json.Unmarshal(r.Content, &blocks); err != nil || len(blocks) != 1 || blocks[0].Type != "text" {
		t.Fatalf("content is %.300s (%v), expected one text block", r.Content, err)
	}
	return blocks[0].Text
}

// Live asks a handler whether its other end is there.
func Live(t *testing.T, h tools.Handler) error {
	t.Helper()
	l, ok := h.(tools.Live)
	if !ok {
		t.Fatalf("%T can't be asked", h)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return l.Live(ctx)
}

// NoneOf checks that a text holds none of the words.
func NoneOf(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if strings.Contains(text, w) {
			t.Errorf("%q is told in: %s", w, text)
		}
	}
}

// Shell is a handler that runs a line of shell.
func Shell(t testing.TB, procs *proctree.Processes, line string, with ...func(*toolexec.Config, *tools.Common)) tools.Handler {
	t.Helper()
	cfg := toolexec.Config{Command: []string{"sh", "-c", line}}
	common := tools.Common{Name: "shell", Dir: t.TempDir()}
	for _, f := range with {
		f(&cfg, &common)
	}
	h, err := toolexec.New(cfg, common, procs)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

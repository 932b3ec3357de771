package loop

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"toolhand/internal/loop/slots"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
)

// The check of an input ends at the call's deadline, with the deadline and not with
// an answer of its own, and gives the call's place back.
func TestCheckEndsAtTheDeadline(t *testing.T) {
	parts := strings.Repeat(`{"type":"string"},`, 30)
	tool, err := registry.NewTool(registry.Spec{Name: "x", Handler: handlerFunc(echo), InputSchema: json.RawMessage(
		`{"type":"object","properties":{"a":{"items":{"anyOf":[` + parts + `{"type":"number"}]}}}}`)})
	if err != nil {
		t.Fatal(err)
	}
	input := json.RawMessage(`{"a":[1` + strings.Repeat(`,1`, 40_000) + `]}`)
	s := &Session{cfg: Config{Slots: slots.New(1), Log: slog.New(slog.DiscardHandler)}}
	q := queue{tool: tool, call: tools.Call{ID: "c", Tool: "x", Input: input, Deadline: time.Now()}}
	ticket := s.cfg.Slots.Queue("s", "x", LimitOf(tool))
	end := s.attempt(t.Context(), &attempt{}, ticket, q)
	if !errors.Is(end.err, errDeadline) {
		t.Errorf("ended with %v", end.err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	slot, err := s.cfg.Slots.Acquire(ctx, "s", "x", LimitOf(tool))
	if err != nil {
		t.Fatalf("the place was kept: %v", err)
	}
	slot.Release()
}

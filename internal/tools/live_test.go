package tools_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"toolhand/internal/tools"
)

func live(t *testing.T, h tools.Handler) error {
	t.Helper()
	l, ok := h.(tools.Live)
	if !ok {
		t.Fatalf("%T can't be asked", h)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return l.Live(ctx)
}

func TestExecLive(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h, err := tools.NewExec(tools.ExecConfig{Command: []string{program}}, tools.Common{Name: "x", Dir: t.TempDir()}, bestProcs(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := live(t, h); err != nil {
		t.Errorf("it is there: %v", err)
	}
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if err := live(t, h); err == nil {
		t.Error("it is gone")
	}
}

// TestHTTPLive: the server is found, and asked for nothing.
func TestHTTPLive(t *testing.T) {
	asked := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the tool was run") })
	server := httptest.NewServer(asked)
	h := newHTTP(t, tools.HTTPConfig{URL: server.URL + "/run"}, tools.Common{Name: "x"})
	if err := live(t, h); err != nil {
		t.Errorf("it is there: %v", err)
	}
	server.Close()
	if err := live(t, h); err == nil {
		t.Error("it is gone")
	}
	secure := httptest.NewTLSServer(asked)
	defer secure.Close()
	h = newHTTP(t, tools.HTTPConfig{URL: secure.URL}, tools.Common{Name: "x"})
	if err := live(t, h); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody trusts: %v", err)
	}
}

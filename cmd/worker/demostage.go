package main

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	toolhand "toolhand"
	"toolhand/internal/tools/proctree"
	"toolhand/internal/worker"
)

// demoTools are the tools that the demo has besides the examples.
//
//go:embed demotools
var demoTools embed.FS

// stage is the folder of a demo: tools, the journal's store, the worker's
// configuration, and a file with a line for each start of a tool.
type stage string

// newStage makes the folder, with a copy of the tools in a folder or, where it has no
// name, of the examples.
func newStage(toolsDir string) (_ stage, err error) {
	dir, err := os.MkdirTemp("", "toolhand-demo-")
	if err != nil {
		return "", fmt.Errorf("the demo needs a folder: %w", err)
	}
	s := stage(dir)
	defer func() {
		if err != nil {
			s.remove()
		}
	}()
	if err := os.Mkdir(s.tools(), 0o755); err != nil {
		return "", err
	}
	if toolsDir != "" {
		if err := os.CopyFS(s.tools(), os.DirFS(toolsDir)); err != nil {
			return "", worker.Usagef("--tools-dir: %s can't be copied: %w", toolsDir, err)
		}
	} else if err := toolhand.UnpackTools(s.tools()); err != nil {
		return "", fmt.Errorf("the built-in tools can't be unpacked: %w", err)
	}
	if err := toolhand.Unpack(demoTools, "demotools", s.tools()); err != nil {
		return "", fmt.Errorf("the demo's tools can't be unpacked: %w", err)
	}
	return s, s.noteStarts()
}

func (s stage) remove()        { _ = os.RemoveAll(string(s)) } // what can't be removed is the system's to clean up
func (s stage) tools() string  { return filepath.Join(string(s), "tools") }
func (s stage) config() string { return filepath.Join(string(s), "worker.yaml") }

// noteStarts has the example tools note each of their starts, as those of the demo do.
func (s stage) noteStarts() error {
	path := filepath.Join(s.tools(), "lib", "tool.sh")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // other tools than the examples
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, "\n. ./demo/note.sh\n"...), 0o644)
}

// starts counts the starts of tools, by call.
func (s stage) starts() map[string]int {
	n := map[string]int{}
	text, _ := os.ReadFile(filepath.Join(string(s), "starts")) // it may not be there yet
	for line := range strings.Lines(string(text)) {
		id, _, _ := strings.Cut(line, " ")
		n[id]++
	}
	return n
}

// configure writes the worker's configuration; JSON is YAML.
func (s stage) configure(url, session string) error {
	type section = map[string]any
	text, err := json.Marshal(section{
		"upstream": section{"base_url": url},
		"sessions": section{"ids": []string{session}},
		"tools":    section{"dir": s.tools()},
		"nats":     section{"store_dir": filepath.Join(string(s), "store")},
		"admin":    section{"listen": "127.0.0.1:0"},
		"shutdown": section{"grace": "5s"},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(s.config(), text, 0o600)
}

// sweep ends what a killed worker has left of its tools.
func sweep() {
	if procs, err := proctree.New(proctree.Options{MarksOnly: true}); err == nil {
		_ = procs.Close() // it has started nothing
	}
}

package main

import (
	"fmt"
	"os"

	toolhand "toolhand"
)

// tools returns the folder of the tools: the one that was named, ./tools.d, or
// the built-in examples in a folder of their own, which remove removes.
func (c demoCmd) tools() (dir string, remove func(), err error) {
	if c.ToolsDir != "" {
		return c.ToolsDir, func() {}, nil
	}
	if _, err := os.Stat("tools.d/slow_build.yaml"); err == nil {
		return "tools.d", func() {}, nil
	}
	dir, err = os.MkdirTemp("", "toolhand-demo-")
	if err != nil {
		return "", nil, fmt.Errorf("the built-in tools need a folder: %w", err)
	}
	remove = func() { os.RemoveAll(dir) }
	if err := toolhand.UnpackTools(dir); err != nil {
		remove()
		return "", nil, fmt.Errorf("the built-in tools can't be unpacked: %w", err)
	}
	return dir, remove, nil
}

// shown is how the folder is called on the screen.
func (c demoCmd) shown(dir string) string {
	if c.ToolsDir == "" && dir != "tools.d" {
		return "its own examples"
	}
	return dir
}

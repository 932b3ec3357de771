//go:build !linux

package tools_test

import (
	"testing"

	"toolhand/internal/tools"
)

// systemChild has no roles of its own on this system.
func systemChild(string, []string) int { return 99 }

// each runs f with each way of telling process trees that this system has.
func each(t *testing.T, f func(*testing.T, *tools.Processes)) { f(t, bestProcs(t)) }

//go:build linux

package tools

import "log/slog"

// NewMarkedProcesses leaves cgroups aside.
func NewMarkedProcesses(log *slog.Logger) (*Processes, error) { return newProcesses(log, false) }

// Grouped reports whether cgroups hold the trees.
func (p *Processes) Grouped() bool { return p.groups != nil }

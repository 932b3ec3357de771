//go:build linux

package tools

import "log/slog"

// NewMarkedProcesses leaves cgroups aside.
func NewMarkedProcesses(log *slog.Logger) (*Processes, error) { return newProcesses(log, false) }

// Grouped reports whether cgroups hold the trees.
func (p *Processes) Grouped() bool { return p.groups != nil }

// GroupDir is the cgroup of this worker's calls.
func (p *Processes) GroupDir() string { return p.groups.dir }

// CgroupDir finds the directory of a cgroup.
func CgroupDir(mounts, path string) (string, error) { return cgroupDir(mounts, path) }

//go:build linux

package proctree

// GroupDir is the cgroup of this worker's calls.
func (p *Processes) GroupDir() string { return p.groups.dir }

// CgroupDir finds the directory of a cgroup.
func CgroupDir(mounts, path string) (string, error) { return cgroupDir(mounts, path) }

// Grouped reports whether cgroups hold the trees.
func (p *Processes) Grouped() bool { return p.groups != nil }

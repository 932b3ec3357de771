package tools

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// serverMark is the variable that marks the processes of the nth MCP server of
// this worker. It names the worker in a way that another one can tell whether it
// still lives: by its pid namespace, its pid, and its start.
func (p *Processes) serverMark(n uint64) string {
	own, _ := statOf(os.Getpid())
	return fmt.Sprintf("%s=%s:%d:%d:%d", serverVar, pidNamespace(), os.Getpid(), own.start, n)
}

// pidNamespace names the namespace in which this process's pid counts; empty where
// it can't be told.
func pidNamespace() string {
	name, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.Trim(name, "pid:[]")
}

// stopServersLeft ends the MCP servers that dead workers have left, and returns
// how many processes there were. A server ends by itself at the end of its input,
// which comes with the death of its worker; this is for those that do not.
func (p *Processes) stopServersLeft() int {
	ns := pidNamespace()
	if ns == "" {
		return 0
	}
	var trees []*marked
	seen := map[string]bool{}
	for pid := range newTable().all {
		mark := serverMarkOf(pid)
		if mark != "" && !seen[mark] {
			seen[mark] = true
			if ownerDead(mark, ns) {
				trees = append(trees, newMarked(p, []string{mark}))
			}
		}
	}
	if len(trees) == 0 {
		return 0
	}
	return p.stopTrees(trees)
}

// serverMarkOf is the mark in the environment of a process, whole; empty where
// there is none that can be read.
func serverMarkOf(pid int) string {
	vars, ok := environOf(pid)
	if !ok {
		return ""
	}
	_, rest, ok := bytes.Cut(vars, []byte("\x00"+serverVar+"="))
	if !ok {
		return ""
	}
	value, _, _ := bytes.Cut(rest, []byte{0})
	return serverVar + "=" + string(value)
}

// ownerDead reports whether the worker that a mark names was of the namespace ns
// and lives no more.
func ownerDead(mark, ns string) bool {
	parts := strings.Split(strings.TrimPrefix(mark, serverVar+"="), ":")
	if len(parts) != 4 || parts[0] != ns {
		return false
	}
	pid, err1 := strconv.Atoi(parts[1])
	start, err2 := strconv.ParseUint(parts[2], 10, 64)
	if err1 != nil || err2 != nil {
		return false
	}
	now, ok := statOf(pid)
	return !ok || now.start != start || now.zombie
}

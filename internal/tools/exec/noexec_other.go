//go:build !linux

package exec

import "golang.org/x/sys/unix"

// noexec reports whether a file is where the system executes nothing.
func noexec(file string) bool {
	var s unix.Statfs_t
	return unix.Statfs(file, &s) == nil && s.Flags&unix.MNT_NOEXEC != 0
}

package proctree_test

import (
	"syscall"
	"unsafe"
)

// links starts a chain of processes, and returns in the first alone. It ends by
// itself after some twenty seconds.
func links(fd int) int {
	one := []byte{'.'}
	for step := range 200_000 {
		pid, _, errno := syscall.RawSyscall(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0)
		switch {
		case errno != 0:
			return 1
		case pid != 0 && step == 0:
			return 0
		case pid != 0:
			syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
		}
		syscall.RawSyscall(syscall.SYS_SETSID, 0, 0, 0)
		syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one[0])), 1)
	}
	syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	return 0
}

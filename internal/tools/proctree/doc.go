// Package proctree owns the process trees of programs. It knows no calls: who starts a
// program gives the marks of its tree as variables of its environment. A tree is told by
// a cgroup of its own, or by marks that a process can't shed by accident; decision 1 in
// docs/decisions has the reasons and the numbers.
//
// Goroutines: one for the thread that forks, as long as [Processes] is open; one a running
// program, which waits for it, and os/exec's three, which carry its input and outputs.
package proctree

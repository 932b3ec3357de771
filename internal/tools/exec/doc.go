// Package exec runs a call as a program: the input on its stdin, its stdout the answer.
package exec

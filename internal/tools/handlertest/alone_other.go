//go:build !linux

package handlertest

import "testing"

// Alone reports that the test is to go on: here no process can be set apart.
func Alone(*testing.T) bool { return true }

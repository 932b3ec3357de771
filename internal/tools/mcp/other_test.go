//go:build !linux

package mcp_test

// systemRoles are what this binary plays on this system alone.
func systemRoles() map[string]func([]string) int { return map[string]func([]string) int{} }

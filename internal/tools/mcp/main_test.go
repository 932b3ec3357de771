package mcp_test

import (
	"testing"

	"toolhand/internal/testkit"
	"toolhand/internal/tools/handlertest"
)

func TestMain(m *testing.M) {
	testkit.SideBySide(8) // they wait for processes
	handlertest.Main(m, mcpRoles())
}

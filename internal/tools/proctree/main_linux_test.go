package proctree_test

import (
	"testing"

	"toolhand/internal/testkit"
	"toolhand/internal/tools/handlertest"
)

func TestMain(m *testing.M) {
	testkit.SideBySide(12) // they wait for processes
	handlertest.Main(m, treeRoles())
}

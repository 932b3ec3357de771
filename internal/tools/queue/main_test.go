package queue_test

import (
	"testing"

	"toolhand/internal/testkit"
	"toolhand/internal/tools/handlertest"
)

func TestMain(m *testing.M) {
	testkit.SideBySide(8) // they wait for one another
	handlertest.Main(m, nil)
}

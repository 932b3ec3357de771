package serve

import (
	"testing"

	"go.uber.org/goleak"

	"toolhand/internal/testkit"
)

func TestMain(m *testing.M) {
	testkit.SideBySide(16) // they wait for one another's acknowledgements
	goleak.VerifyTestMain(m)
}

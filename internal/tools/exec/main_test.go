package exec_test

import (
	"testing"

	"toolhand/internal/tools/handlertest"
)

func TestMain(m *testing.M) {
	handlertest.Main(m, map[string]func([]string) int{"serve": handlertest.ServeProgram})
}

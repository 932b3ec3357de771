package queue_test

import (
	"testing"

	"toolhand/internal/tools/handlertest"
)

func TestMain(m *testing.M) {
	handlertest.Main(m, nil)
}

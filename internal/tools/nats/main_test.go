package nats_test

import (
	"testing"

	"toolhand/internal/tools/handlertest"
)

func TestMain(m *testing.M) {
	handlertest.Main(m, map[string]func([]string) int{
		"nats-server": func(args []string) int { return serveNATS(args[0]) },
	})
}

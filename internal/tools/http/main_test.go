package http_test

import (
	"testing"

	"toolhand/internal/tools/handlertest"
)

func TestMain(m *testing.M) {
	handlertest.Main(m, map[string]func([]string) int{
		"proxied": func(args []string) int { return proxied(args[0]) },
	})
}

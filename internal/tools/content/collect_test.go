package content_test

import (
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// answer is the result of a handler's whole answer.
func answer(raw []byte, isError bool, max int) tools.Result {
	c := content.NewCollector(max)
	_, _ = c.Write(raw)
	return c.Result(isError)
}

package content_test

import (
	"fmt"

	"toolhand/internal/tools/content"
)

// What a handler's other end sends is kept within bounds: of a long text, its beginning
// and its end.
func ExampleCollector() {
	out := content.NewCollector(60)
	for i := range 100 {
		fmt.Fprintf(out, "line %d\n", i)
	}
	fmt.Println(string(out.Result(false).Content))
	// Output: [{"text":"line 0\nline 1\nl\n[… 760 bytes left out …]\nine 98\nline 99\n","type":"text"}]
}

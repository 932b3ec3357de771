package mcp

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestChanged: what is new in a list counts, and all of it where some may be left out.
func TestChanged(t *testing.T) {
	const most = 20
	list := func(text string) (all []ServerTool) { // names, with the values of their schemas
		for _, one := range strings.Fields(text) {
			var name string
			var values int
			if _, err := fmt.Sscanf(strings.ReplaceAll(one, "=", " "), "%s %d", &name, &values); err != nil {
				t.Fatal(err)
			}
			all = append(all, ServerTool{Name: name, InputSchema: json.RawMessage("{" + strings.Repeat(",", values-1) + "}")})
		}
		return all
	}
	for _, c := range []struct {
		before, now string
		want        int
	}{
		{"", "a=4 b=4", 10},
		{"a=4 b=4", "b=4 a=4", 0},
		{"a=4 b=4", "a=4 b=5", 6},
		{"a=4 b=4", "b=4", 0},
		{"a=4", "a=4 c=2", 3},
		{"a=12 b=12", "b=12 a=12", 26}, // one of them is left out, now another one
		{"a=12 b=12", "b=12", 13},
		{"a=12", "b=12 a=12", 26},
	} {
		if got := changed(list(c.before), list(c.now), most); got != c.want {
			t.Errorf("from %q to %q: %d, want %d", c.before, c.now, got, c.want)
		}
	}
}

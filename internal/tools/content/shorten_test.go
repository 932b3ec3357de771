package content_test

import (
	"encoding/json"
	"strings"
	"testing"

	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

func TestShorten(t *testing.T) {
	data := strings.Repeat("A", 4000)
	image := `{"type":"image","source":{"type":"base64","media_type":"image/png","data":"` + data + `"}}`
	for name, c := range map[string]struct {
		r    tools.Result
		size int
		ok   bool
	}{
		"text":                 {content.Text("begin" + strings.Repeat("x", 10_000) + "end"), 2000, true},
		"an error's text":      {content.Error("begin" + strings.Repeat("x", 10_000) + "end"), 2000, true},
		"text full of escapes": {content.Text("begin" + strings.Repeat("\x01", 10_000) + "end"), 2000, true},
		"an image and text":    {tools.Result{Content: json.RawMessage(`[` + image + `,{"type":"text","text":"begin` + strings.Repeat("y", 9000) + `end"}]`)}, 6000, true},
		"an image alone":       {tools.Result{Content: json.RawMessage(`[` + image + `]`)}, 2000, false},
		"what fits already":    {content.Text("begin and end"), 2000, false},
	} {
		t.Run(name, func(t *testing.T) {
			cut, ok := content.Shorten(c.r, c.size)
			if ok != c.ok {
				t.Fatalf("reports %t", ok)
			}
			if !ok {
				return
			}
			text := string(cut.Content)
			if len(text) > c.size || !json.Valid(cut.Content) || cut.IsError != c.r.IsError ||
				!strings.Contains(text, "begin") || !strings.Contains(text, "bytes left out") || !strings.Contains(text, "end") {
				t.Errorf("%d bytes, error %t: %.200s", len(text), cut.IsError, text)
			}
			if strings.Contains(string(c.r.Content), data) && !strings.Contains(text, data) {
				t.Error("the image was cut")
			}
		})
	}
}

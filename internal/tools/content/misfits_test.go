package content_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"toolhand/internal/tools/content"
)

// TestMisfit says of each answer that was meant as blocks what is wrong with it, and of
// no other anything.
func TestMisfit(t *testing.T) {
	const image = `{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}}`
	for _, c := range []struct{ raw, want string }{
		{`hello`, ""},
		{`{"content":[` + image + `]}`, ""},
		{`{"content":"the text of a file","path":"a.txt"}`, ""},
		{`{"content":[1,2],"total":2}`, ""},
		{`{"contents":[{"type":"txt"}]}`, ""},
		{`{"content":"the text"}`, "content: expected a list"},
		{`{"content":{"type":"text","text":"a"}}`, "content: expected a list"},
		{`{"content":null,"is_error":false}`, "content: expected a list"},
		{`{"content":["a"]}`, "content[0]: expected an object"},
		{`{"content":[` + image + `,{"type":"txt","text":"s3cr3t"}]}`, "content[1].type: expected document or image or search_result or text"},
		{`{"content":[{"text":"s3cr3t"}]}`, "content[0].type: expected document or image or search_result or text"},
		{`{"content":[{"type":"text","text":7}],"more":1}`, "content[0].text: expected text"},
		{`{"content":[{"type":"text"}]}`, "content[0].text: is missing"},
		{`{"content":[{"type":"text","text":"a","annotations":{}}]}`, "content[0].annotations: the API takes no such key here"},
		{`{"content":[{"type":"text","text":"a","s3cr3t 1":{}}]}`, "content[0].(a key): the API takes no such key here"},
		{`{"content":[{"type":"image","data":"AA==","mimeType":"image/png"}]}`, "content[0].source: is missing"},
		{`{"content":[{"type":"image","source":"s3cr3t"}]}`, "content[0].source: expected an object"},
		{`{"content":[{"type":"image","source":{"type":"base64","data":"AA=="}}]}`, "content[0].source.media_type: is missing"},
		{`{"content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":""}}]}`, "content[0].source.data: expected text that is not empty"},
		{`{"content":[{"type":"document","source":{"type":"text","media_type":"text/html","data":"a"},"title":3}]}`, `content[0].source.media_type: expected "text/plain"`},
		{`{"content":[{"type":"document","source":{"type":"url","url":"u"},"title":3}]}`, "content[0].title: expected text or null"},
		{`{"content":[{"type":"search_result","source":"s","title":"t","content":[{"type":"text","text":""}],"citations":{"enabled":"no"}}]}`, "content[0].citations.enabled: expected true or false"},
		{`{"content":[` + image + `],"is_error":"no"}`, "is_error: expected true or false"},
		{`{"content":[],"content":[]}`, "content: is there twice"},
		{`{"content":[{"type":"text","text":"a "quoted" word"}]}`, "it is not valid JSON, or more follows it"},
		{`{"content":[]} done`, "it is not valid JSON, or more follows it"},
		{`{"path":"a" and more}`, ""},
	} {
		for range 5 { // it must not hang on the order of a map
			out := content.NewCollector(0)
			fmt.Fprint(out, c.raw)
			r := out.Result(false)
			if got := out.Misfit(); got != c.want || strings.Contains(got, "s3cr3t") {
				t.Errorf("%s\ngot  %s\nwant %s", c.raw, got, c.want)
			}
			if c.want != "" && !strings.HasPrefix(string(r.Content), `[{"text":"`) {
				t.Errorf("%s\nbecomes %s", c.raw, r.Content)
			}
		}
	}
}

// TestMisfitsAreBounded: a tool that comes up with new reasons does not fill the log.
func TestMisfitsAreBounded(t *testing.T) {
	var log bytes.Buffer
	var m content.Misfits
	for i := range 1000 {
		m.Tell(context.Background(), slog.New(slog.NewTextHandler(&log, nil)), fmt.Sprintf("content[%d]: expected an object", i%200))
	}
	m.Tell(context.Background(), slog.New(slog.NewTextHandler(&log, nil)), "")
	if n := strings.Count(log.String(), "\n"); n != 20 {
		t.Errorf("%d lines", n)
	}
}

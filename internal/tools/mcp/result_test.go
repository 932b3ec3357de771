package mcp_test

import (
	"strings"
	"testing"

	"toolhand/internal/tools/content"
	toolmcp "toolhand/internal/tools/mcp"
)

func TestMCPResults(t *testing.T) {
	const png, pdf = "iVBORw0KGgo=", "JVBERi0xLjQ="
	for name, tc := range map[string]struct {
		answer, want string
		isError      bool
	}{
		"text":                {answer: `{"content":[{"type":"text","text":"a <b> \u00e9"}]}`, want: `[{"text":"a <b> é","type":"text"}]`},
		"error":               {answer: `{"content":[{"type":"text","text":"no"}],"isError":true}`, want: `[{"text":"no","type":"text"}]`, isError: true},
		"annotations":         {answer: `{"content":[{"type":"text","text":"a","annotations":{"audience":["user"]},"_meta":{"x":1}}]}`, want: `[{"text":"a","type":"text"}]`},
		"empty text":          {answer: `{"content":[{"type":"text","text":""}]}`, want: `[{"text":"(no output)","type":"text"}]`},
		"nothing":             {answer: `{"content":[]}`, want: `[{"text":"(no output)","type":"text"}]`},
		"no content":          {answer: `{}`, want: `[{"text":"(no output)","type":"text"}]`},
		"structured only":     {answer: `{"content":[],"structuredContent":{"n":12345678901234567890, "a":1}}`, want: `[{"text":"{\"n\":12345678901234567890, \"a\":1}","type":"text"}]`},
		"structured too":      {answer: `{"content":[{"type":"text","text":"x"}],"structuredContent":{"a":1}}`, want: `[{"text":"x","type":"text"}]`},
		"image":               {answer: `{"content":[{"type":"image","data":"` + png + `","mimeType":"image/png"}]}`, want: `[{"source":{"data":"` + png + `","media_type":"image/png","type":"base64"},"type":"image"}]`},
		"image of a new kind": {answer: `{"content":[{"type":"image","data":"PHN2Zz4=","mimeType":"image/svg+xml"}]}`, want: `[{"text":"[image of type image/svg+xml, 5 bytes: it can't be shown here]","type":"text"}]`},
		"image by other name": {answer: `{"content":[{"type":"image","data":"/9j/4AAQ","mimeType":"image/jpg"}]}`, want: `[{"source":{"data":"/9j/4AAQ","media_type":"image/jpeg","type":"base64"},"type":"image"}]`},
		"image of other data": {answer: `{"content":[{"type":"image","data":"/9j/4AAQ","mimeType":"image/png"}]}`, want: `[{"source":{"data":"/9j/4AAQ","media_type":"image/jpeg","type":"base64"},"type":"image"}]`},
		"image that is none":  {answer: `{"content":[{"type":"image","data":"###","mimeType":"image/png"}]}`, want: `[{"text":"[image of type image/png: its data is not valid base64, or empty]","type":"text"}]`},
		"audio":               {answer: `{"content":[{"type":"audio","data":"` + png + `","mimeType":"audio/wav"}]}`, want: `[{"text":"[audio of type audio/wav, 8 bytes: it can't be shown here]","type":"text"}]`},
		"link":                {answer: `{"content":[{"type":"resource_link","uri":"file:///a","name":"a","mimeType":"text/plain","description":"The a."}]}`, want: `[{"text":"[link to file:///a, a, text/plain, The a.]","type":"text"}]`},
		"text resource":       {answer: `{"content":[{"type":"resource","resource":{"uri":"file:///a","text":"hello"}}]}`, want: `[{"text":"[resource file:///a]\nhello","type":"text"}]`},
		"blob of text":        {answer: `{"content":[{"type":"resource","resource":{"uri":"u:a","mimeType":"text/csv; charset=utf-8","blob":"YSxi"}}]}`, want: `[{"text":"[resource u:a]\na,b","type":"text"}]`},
		"pdf":                 {answer: `{"content":[{"type":"resource","resource":{"uri":"u:a","mimeType":"application/pdf","blob":"` + pdf + `"}}]}`, want: `[{"source":{"data":"` + pdf + `","media_type":"application/pdf","type":"base64"},"title":"u:a","type":"document"}]`},
		"image resource":      {answer: `{"content":[{"type":"resource","resource":{"uri":"u:a","mimeType":"image/gif","blob":"` + png + `"}}]}`, want: `[{"source":{"data":"` + png + `","media_type":"image/png","type":"base64"},"type":"image"}]`},
		"other blob":          {answer: `{"content":[{"type":"resource","resource":{"uri":"u:a","mimeType":"application/zip","blob":"` + png + `"}}]}`, want: `[{"text":"[resource u:a of type application/zip, 8 bytes: it can't be shown here]","type":"text"}]`},
		"unknown":             {answer: `{"content":[{"type":"hologram"},{"type":"text","text":"x"}]}`, want: `[{"text":"[a block of content of type \"hologram\": it can't be shown here]","type":"text"},{"text":"x","type":"text"}]`},
		"half a character":    {answer: "{\"content\":[{\"type\":\"text\",\"text\":\"a\xff\\ud800\"}]}", want: `[{"text":"a` + "\uFFFD\uFFFD" + `","type":"text"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			r := toolmcp.Result(tc.answer, 0)
			if string(r.Content) != tc.want || r.IsError != tc.isError {
				t.Errorf("got  %s (error %t)\nwant %s", r.Content, r.IsError, tc.want)
			}
		})
	}
	long := toolmcp.Result(`{"content":[{"type":"text","text":"`+strings.Repeat("a", 5000)+`"},{"type":"resource","resource":{"uri":"u","text":"`+strings.Repeat("b", 5000)+`"}}]}`, 1000)
	if n := content.Bytes(long); n > 1000 || !strings.Contains(string(long.Content), "bytes left out") {
		t.Errorf("%d bytes of text: %.2000s", n, long.Content)
	}
	for _, answer := range []string{`[]`, `{"content":5}`, `{"content":[{"type":"image","mimeType":"image/png","data":"` + strings.Repeat("AAAA", 3<<20) + `"}]}`} {
		if r := toolmcp.Result(answer, 0); !r.IsError || len(r.Content) > 1000 {
			t.Errorf("%.50s: %.300s", answer, r.Content)
		}
	}
}

package mcp

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// A block is a block of content as an MCP server sends it.
type block struct {
	Type        string    `json:"type"`
	Text        string    `json:"text"`
	Data        string    `json:"data"` // base64
	MIMEType    string    `json:"mimeType"`
	URI         string    `json:"uri"`
	Name        string    `json:"name"`
	Title       string    `json:"title"`
	Description string    `json:"description"`
	Resource    *resource `json:"resource"`
}

type resource struct {
	URI      string  `json:"uri"`
	MIMEType string  `json:"mimeType"`
	Text     *string `json:"text"`
	Blob     string  `json:"blob"` // base64
}

// resultOf makes the result of a server's answer to tools/call: its content in
// the API's own form, or, where there is none, its structured content as JSON.
// max bounds the text as for [content.NewCollector].
func resultOf(answer json.RawMessage, max int) tools.Result {
	answer = content.Valid(answer)
	var result struct {
		Content    []json.RawMessage `json:"content"`
		Structured json.RawMessage   `json:"structuredContent"`
		IsError    bool              `json:"isError"`
	}
	if err := json.Unmarshal(answer, &result); err != nil {
		return content.Error(fmt.Sprintf("The MCP server answered with what is no result of a tool: %s", err))
	}
	var blocks []any
	media := 0 // what is not text, and so is never cut
	for _, raw := range result.Content {
		converted := apiBlock(raw)
		if converted["type"] != "text" {
			media += len(raw)
		}
		blocks = append(blocks, converted)
	}
	if text := bytes.TrimSpace(result.Structured); len(blocks) == 0 && len(text) > 0 && string(text) != "null" {
		blocks = append(blocks, content.TextBlock(text))
	}
	if len(blocks) == 0 {
		blocks = append(blocks, content.TextBlock(nil))
	}
	if media > content.MaxStructured {
		return content.Error(fmt.Sprintf("The MCP server answered with images and documents of %d bytes, and at most %d can be taken: have it answer with less, or with links to them", media, content.MaxStructured))
	}
	return tools.Result{Content: content.Bounded(gjson.ParseBytes(content.Encode(blocks)), cmp.Or(max, content.DefaultMax)), IsError: result.IsError}
}

// apiBlock is a server's block in the API's form. What the API has no form for
// becomes a text that says what it was.
func apiBlock(raw json.RawMessage) map[string]any {
	var b block
	if err := json.Unmarshal(raw, &b); err != nil {
		return note("a block of content that can't be read: %s", err)
	}
	switch b.Type {
	case "text":
		return content.TextBlock([]byte(b.Text))
	case "image":
		return mediaBlock("image", "", b.MIMEType, b.Data)
	case "audio":
		return note("audio of type %s, %d bytes: it can't be shown here", cmp.Or(b.MIMEType, "unknown"), decodedLen(b.Data))
	case "resource_link":
		return linkBlock(b)
	case "resource":
		if b.Resource != nil {
			return resourceBlock(*b.Resource)
		}
	}
	return note("a block of content of type %q: it can't be shown here", string(content.CutAfter([]byte(b.Type), 100)))
}

func note(format string, args ...any) map[string]any {
	return content.TextBlock(content.Valid([]byte("[" + fmt.Sprintf(format, args...) + "]")))
}

// decodedLen is about how many bytes a base64 text stands for.
func decodedLen(data string) int {
	return base64.StdEncoding.DecodedLen(len(data)) - strings.Count(data[max(0, len(data)-2):], "=")
}

// mediaBlock is an image or a PDF. The API refuses a send for an image that is not
// of the type that it is said to be, as servers often have it: so it is called what
// its data begins like, and what it is said to be only where that tells nothing.
func mediaBlock(what, uri, kind, data string) map[string]any {
	media, _, _ := mime.ParseMediaType(kind)
	decoded, err := base64.StdEncoding.DecodeString(data)
	if found := http.DetectContentType(decoded); strings.HasPrefix(media, "image/") && isImage(found) {
		media = found
	}
	form := ""
	switch {
	case isImage(media):
		form = "image"
	case media == "application/pdf":
		form = "document"
	}
	if uri != "" {
		what += " " + uri
	}
	switch {
	case err != nil || len(decoded) == 0:
		return note("%s of type %s: its data is not valid base64, or empty", what, cmp.Or(kind, "unknown"))
	case form == "":
		return note("%s of type %s, %d bytes: it can't be shown here", what, cmp.Or(kind, "unknown"), len(decoded))
	}
	converted := map[string]any{"type": form, "source": map[string]any{"type": "base64", "media_type": media, "data": base64.StdEncoding.EncodeToString(decoded)}}
	if form == "document" && uri != "" {
		converted["title"] = uri
	}
	return converted
}

// isImage reports whether the API takes images of this type.
func isImage(media string) bool {
	switch media {
	case "image/png", "image/jpeg", "image/gif", "image/webp":
		return true
	}
	return false
}

func linkBlock(b block) map[string]any {
	text := "link to " + b.URI
	for _, more := range []string{cmp.Or(b.Title, b.Name), b.MIMEType, b.Description} {
		if more != "" {
			text += ", " + more
		}
	}
	return note("%s", text)
}

// resourceBlock is a resource that came whole. A text is a text block, so that
// max_result_bytes bounds it.
func resourceBlock(r resource) map[string]any {
	if r.Text != nil {
		return content.TextBlock(content.Valid([]byte("[resource " + r.URI + "]\n" + *r.Text)))
	}
	media, _, _ := mime.ParseMediaType(r.MIMEType)
	if strings.HasPrefix(media, "text/") || media == "application/json" {
		if text, err := base64.StdEncoding.DecodeString(r.Blob); err == nil && utf8.Valid(text) {
			return content.TextBlock([]byte("[resource " + r.URI + "]\n" + string(text)))
		}
	}
	return mediaBlock("resource", r.URI, r.MIMEType, r.Blob)
}

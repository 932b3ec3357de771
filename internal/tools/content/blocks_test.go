package content_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// blockSchema is the API's own schema of a block, out of the SDK's module.
func blockSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/anthropics/anthropic-sdk-go/v2").Output()
	if err != nil {
		t.Fatalf("find the SDK's module: %v", err)
	}
	file, err := os.Open(filepath.Join(strings.TrimSpace(string(dir)), "scripts", "mock-spec.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.Draft = jsonschema.Draft2020
	if err := c.AddResource("mem:///api.json", unzipped); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("mem:///api.json#/components/schemas/BetaManagedAgentsToolResultContentBlock")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestBlocksAgreeWithTheAPI compares what is taken as a block with the API's
// schema: on good blocks, and on each of them with one member left out, added, or
// made something else, at every depth.
func TestBlocksAgreeWithTheAPI(t *testing.T) {
	schema := blockSchema(t)
	seen := map[bool]int{}
	check := func(block any) {
		raw, err := json.Marshal(block)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte(`"text":""`)) {
			return // an empty text is replaced, and tested elsewhere
		}
		want := schema.Validate(block) == nil
		content := fmt.Sprintf("[%s]", raw)
		got := string(answer(fmt.Appendf(nil, `{"content":%s}`, content), false, 0).Content) == content
		if got != want {
			t.Errorf("taken: %t, by the API: %t: %s", got, want, raw)
		}
		seen[want]++
	}
	for _, good := range goodBlocks() {
		var block any
		if err := json.Unmarshal([]byte(good), &block); err != nil {
			t.Fatal(err)
		}
		if schema.Validate(block) != nil {
			t.Errorf("the API refuses %s", good)
		}
		check(block)
		vary(block, func() { check(block) })
	}
	for _, bad := range []string{`null`, `"text"`, `[]`, `{}`, `1`} {
		var block any
		_ = json.Unmarshal([]byte(bad), &block)
		check(block)
	}
	if seen[true] < 30 || seen[false] < 300 {
		t.Errorf("compared on %d good and %d bad blocks only", seen[true], seen[false])
	}
}

func goodBlocks() []string {
	return []string{
		`{"type":"text","text":"a"}`,
		`{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}}`,
		`{"type":"image","source":{"type":"url","url":"https://x"}}`,
		`{"type":"image","source":{"type":"file","file_id":"file_1"}}`,
		`{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AA=="}}`,
		`{"type":"document","source":{"type":"text","media_type":"text/plain","data":"a"},"title":"t","context":"c"}`,
		`{"type":"document","source":{"type":"url","url":"https://x"},"title":null,"context":null}`,
		`{"type":"document","source":{"type":"file","file_id":"file_1"}}`,
		`{"type":"search_result","source":"s","title":"t","citations":{"enabled":false},"content":[]}`,
		`{"type":"search_result","source":"s","title":"t","citations":{"enabled":true},"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}`,
	}
}

// vary calls do with v changed in each of many ways, one at a time.
func vary(v any, do func()) {
	switch v := v.(type) {
	case map[string]any:
		v["extra"] = "x"
		do()
		delete(v, "extra")
		for name, value := range v {
			delete(v, name)
			do()
			for _, other := range []any{nil, "", "x", "text", "base64", "url", "text/plain", json.Number("1"), true, []any{}, map[string]any{}} {
				v[name] = other
				do()
			}
			v[name] = value
			vary(value, do)
		}
	case []any:
		for i, value := range v {
			for _, other := range []any{nil, "x", []any{}, map[string]any{}} {
				v[i] = other
				do()
			}
			v[i] = value
			vary(value, do)
		}
	}
}

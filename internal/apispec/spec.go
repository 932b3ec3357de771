package apispec

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

const (
	module  = "github.com/anthropics/anthropic-sdk-go/v2"
	inside  = "scripts/mock-spec.json.gz"
	baseURL = "openapi:///document.json"
)

// Spec is the OpenAPI document. It may be used by many goroutines at once.
type Spec struct {
	paths map[string]map[string]*operation // by template, by lower-case method

	mu       sync.Mutex // guards what follows: a compiler is not for several goroutines
	compiler *jsonschema.Compiler
	compiled map[string]*jsonschema.Schema
}

// operation is the part of an operation that is checked.
type operation struct {
	Parameters  []parameter `json:"parameters"`
	RequestBody *struct {
		Required bool  `json:"required"`
		Content  media `json:"content"`
	} `json:"requestBody"`
	Responses map[string]struct {
		Content media `json:"content"`
	} `json:"responses"`
	Betas []string `json:"x-anthropic-beta-required"`

	pointer string // where it stands in the document
}

type parameter struct {
	Name     string          `json:"name"`
	In       string          `json:"in"`
	Required bool            `json:"required"`
	Schema   json.RawMessage `json:"schema"`
}

type media map[string]struct {
	Schema json.RawMessage `json:"schema"`
}

// load reads the document once a process: it has 3.7 MB.
var load = sync.OnceValues(read)

// Load returns the document of the SDK in go.mod. It ends the test where the
// document can't be read.
func Load(tb testing.TB) *Spec {
	tb.Helper()
	spec, err := load()
	if err != nil {
		tb.Fatalf("the official OpenAPI document: %v", err)
	}
	return spec
}

func read() (*Spec, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return nil, fmt.Errorf("go list -m %s: %w", module, err)
	}
	f, err := os.Open(filepath.Join(strings.TrimSpace(string(out)), inside))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(zip)
	if err != nil {
		return nil, err
	}
	return parse(raw)
}

func parse(raw []byte) (*Spec, error) {
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	s := &Spec{paths: map[string]map[string]*operation{}, compiled: map[string]*jsonschema.Schema{}}
	for key, methods := range doc.Paths {
		if !strings.HasPrefix(key, "/v1/sessions") && !strings.HasPrefix(key, "/v1/agents") {
			continue
		}
		template, _, _ := strings.Cut(key, "?")
		s.paths[template] = map[string]*operation{}
		for method, body := range methods {
			op := &operation{pointer: "#/paths/" + escape(key) + "/" + method}
			if err := json.Unmarshal(body, op); err != nil {
				continue // not an operation
			}
			s.paths[template][method] = op
		}
	}
	if len(s.paths) == 0 {
		return nil, errors.New("the document has no paths of sessions")
	}
	return s, s.prepare(raw)
}

// prepare makes the compiler, with discriminated unions rewritten.
func (s *Spec) prepare(raw []byte) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return err
	}
	if err := extend(doc); err != nil {
		return err
	}
	discriminate(doc)
	rewritten, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	s.compiler = jsonschema.NewCompiler()
	s.compiler.Draft = jsonschema.Draft2020
	s.compiler.AssertFormat = true
	s.compiler.LoadURL = func(url string) (io.ReadCloser, error) {
		return nil, fmt.Errorf("%s is outside the document", url)
	}
	return s.compiler.AddResource(baseURL, bytes.NewReader(rewritten))
}

// extend adds the one field that the API has and the document lacks: the
// permission of a custom tool's call, which is open to new values.
func extend(doc any) error {
	for _, name := range []string{"components", "schemas", "BetaManagedAgentsAgentCustomToolUseEvent", "properties"} {
		m, _ := doc.(map[string]any)
		doc = m[name]
	}
	properties, ok := doc.(map[string]any)
	if !ok {
		return errors.New("the document has no agent.custom_tool_use")
	}
	if _, listed := properties["evaluated_permission"]; !listed {
		properties["evaluated_permission"] = map[string]any{"type": "string"}
	}
	return nil
}

// discriminate turns every oneOf with a discriminator's mapping into a choice
// by that property.
func discriminate(node any) {
	switch n := node.(type) {
	case []any:
		for _, child := range n {
			discriminate(child)
		}
	case map[string]any:
		for _, child := range n {
			discriminate(child)
		}
		d, _ := n["discriminator"].(map[string]any)
		mapping, _ := d["mapping"].(map[string]any)
		property, _ := d["propertyName"].(string)
		if property == "" || len(mapping) == 0 || n["oneOf"] == nil {
			return
		}
		choose(n, property, mapping)
	}
}

func choose(n map[string]any, property string, mapping map[string]any) {
	var values, choices []any
	for value, ref := range mapping {
		values = append(values, value)
		choices = append(choices, map[string]any{
			"if":   map[string]any{"properties": map[string]any{property: map[string]any{"const": value}}},
			"then": map[string]any{"$ref": ref},
		})
	}
	slices.SortFunc(values, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	delete(n, "oneOf")
	n["type"] = "object"
	n["required"] = []any{property}
	n["properties"] = map[string]any{property: map[string]any{"enum": values}}
	n["allOf"] = choices
}

// schema compiles what stands at a pointer such as #/components/schemas/X.
func (s *Spec) schema(pointer string) (*jsonschema.Schema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.compiled[pointer]; c != nil {
		return c, nil
	}
	c, err := s.compiler.Compile(baseURL + pointer)
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", pointer, err)
	}
	s.compiled[pointer] = c
	return c, nil
}

// escape makes a JSON pointer's token, within a URL.
func escape(token string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "?", "%3F", "{", "%7B", "}", "%7D").Replace(token)
}

package apispec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// StreamSchema is the schema of an event on a session's stream.
const StreamSchema = "BetaManagedAgentsStreamSessionEvents"

// Request checks a request: its path and method, each query parameter, the
// headers that the API needs, and the body, which is given apart.
func (s *Spec) Request(r *http.Request, body []byte) error {
	op, err := s.operation(r.Method, r.URL.Path)
	if err != nil {
		return err
	}
	return errors.Join(
		headers(r.Header, op.Betas),
		s.query(op, r.URL.Query()),
		s.requestBody(op, body),
	)
}

// Response checks a response's JSON body by its status. An error that the
// document does not list has to be in the form of the others.
func (s *Spec) Response(method, path string, status int, body []byte) error {
	op, err := s.operation(method, path)
	if err != nil {
		return err
	}
	code := strconv.Itoa(status)
	if _, listed := op.Responses[code]; listed {
		return s.validate(op.pointer+"/responses/"+code+"/content/application~1json/schema", body)
	}
	if status >= 400 {
		return s.Schema("BetaErrorResponse", body)
	}
	return fmt.Errorf("%s %s does not answer %d", method, path, status)
}

// StreamEvent checks the data of one event of a stream.
func (s *Spec) StreamEvent(data []byte) error { return s.Schema(StreamSchema, data) }

// Schema checks JSON against a schema of the document by its name.
func (s *Spec) Schema(name string, data []byte) error {
	return s.validate("#/components/schemas/"+escape(name), data)
}

func (s *Spec) validate(pointer string, data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return fmt.Errorf("no JSON: %w", err)
	}
	if dec.More() {
		return errors.New("more than one JSON value")
	}
	return s.validateValue(pointer, v)
}

func (s *Spec) validateValue(pointer string, v any) error {
	schema, err := s.schema(pointer)
	if err != nil {
		return err
	}
	var broken *jsonschema.ValidationError
	if err := schema.Validate(v); errors.As(err, &broken) {
		return errors.New(strings.Join(leaves(broken), "; "))
	} else if err != nil {
		return err
	}
	return nil
}

// leaves are the innermost causes, the deepest places first, five at most.
func leaves(e *jsonschema.ValidationError) []string {
	type leaf struct {
		depth int
		text  string
	}
	var all []leaf
	var walk func(*jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		for _, c := range e.Causes {
			walk(c)
		}
		if len(e.Causes) == 0 {
			all = append(all, leaf{strings.Count(e.InstanceLocation, "/"), e.InstanceLocation + ": " + e.Message})
		}
	}
	walk(e)
	slices.SortStableFunc(all, func(a, b leaf) int { return b.depth - a.depth })
	var out []string
	for _, l := range all[:min(5, len(all))] {
		out = append(out, l.text)
	}
	return out
}

// operation finds the operation for a path.
func (s *Spec) operation(method, path string) (*operation, error) {
	want := strings.Split(path, "/")
	for template, methods := range s.paths {
		parts := strings.Split(template, "/")
		if len(parts) != len(want) {
			continue
		}
		match := true
		for i, p := range parts {
			if p != want[i] && (!strings.HasPrefix(p, "{") || want[i] == "") {
				match = false
				break
			}
		}
		if op := methods[strings.ToLower(method)]; match && op != nil {
			return op, nil
		}
	}
	return nil, fmt.Errorf("the API has no %s %s", method, path)
}

// headers checks what the API needs although the document leaves it open.
func headers(h http.Header, betas []string) error {
	if key, auth := len(h.Values("X-Api-Key")), len(h.Values("Authorization")); key != 0 || auth != 1 {
		return fmt.Errorf("one authorization and no x-api-key is needed: sent %d and %d", auth, key)
	}
	if h.Get("Anthropic-Version") == "" {
		return errors.New("no anthropic-version")
	}
	sent := strings.Join(h.Values("Anthropic-Beta"), ",")
	for _, beta := range betas {
		if !slices.Contains(strings.Split(strings.ReplaceAll(sent, " ", ""), ","), beta) {
			return fmt.Errorf("anthropic-beta is %q and lacks %s", sent, beta)
		}
	}
	return nil
}

func (s *Spec) query(op *operation, q url.Values) error {
	known := map[string]bool{"beta": true}
	for i, p := range op.Parameters {
		if p.In != "query" {
			continue
		}
		known[p.Name] = true
		if !q.Has(p.Name) {
			if p.Required {
				return fmt.Errorf("query: %s is needed", p.Name)
			}
			continue
		}
		pointer := fmt.Sprintf("%s/parameters/%d/schema", op.pointer, i)
		if err := s.validateValue(pointer, s.queryValue(p, q[p.Name])); err != nil {
			return fmt.Errorf("query: %s: %w", p.Name, err)
		}
	}
	for name := range q {
		if !known[name] {
			return fmt.Errorf("query: no parameter %s", name)
		}
	}
	return nil
}

// queryValue turns a parameter's text into the JSON value that its schema
// speaks of.
func (s *Spec) queryValue(p parameter, texts []string) any {
	var head struct{ Type string }
	_ = json.Unmarshal(p.Schema, &head) // a schema without a type is a reference to a string's
	switch head.Type {
	case "array":
		out := make([]any, len(texts))
		for i, text := range texts {
			out[i] = text
		}
		return out
	case "integer", "number":
		if _, err := strconv.ParseFloat(texts[0], 64); err == nil {
			return json.Number(texts[0])
		}
	case "boolean":
		if b, err := strconv.ParseBool(texts[0]); err == nil {
			return b
		}
	}
	return texts[0]
}

func (s *Spec) requestBody(op *operation, body []byte) error {
	if op.RequestBody == nil {
		if len(body) > 0 {
			return errors.New("a body where the API takes none")
		}
		return nil
	}
	if len(body) == 0 && !op.RequestBody.Required {
		return nil
	}
	if err := s.validate(op.pointer+"/requestBody/content/application~1json/schema", body); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	return nil
}

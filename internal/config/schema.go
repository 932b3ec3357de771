package config

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// schemaText is the one place where keys, types, bounds and defaults stand. A
// title says what is expected of a value, for our messages; a description what
// the key is for.
//
//go:embed worker.schema.json
var schemaText []byte

// Schema is the JSON Schema of worker.yaml (draft 2020-12), for editors. [Load]
// takes nothing that it refuses. The slice is the caller's own.
func Schema() []byte { return bytes.Clone(schemaText) }

// schema is the compiled schemaText.
var schema = sync.OnceValue(func() *jsonschema.Schema {
	const url = "urn:toolhand:worker.yaml"
	c := jsonschema.NewCompiler()
	c.Draft, c.ExtractAnnotations = jsonschema.Draft2020, true
	c.LoadURL = func(url string) (io.ReadCloser, error) {
		return nil, fmt.Errorf("%s is not part of the schema", url)
	}
	if err := c.AddResource(url, bytes.NewReader(schemaText)); err != nil {
		panic(err) // it is part of the program, and a test compiles it
	}
	return c.MustCompile(url)
})

// resolve is what part refers to, or part itself.
func resolve(part *jsonschema.Schema) *jsonschema.Schema {
	for part.Ref != nil {
		part = part.Ref
	}
	return part
}

// takes reports whether a value of this JSON type may stand at part.
func takes(part *jsonschema.Schema, kind string) bool {
	return slices.Contains(part.Types, kind)
}

// itemOf is the part of the schema for the elements of a list.
func itemOf(list *jsonschema.Schema) *jsonschema.Schema { return resolve(resolve(list).Items2020) }

// nameOf is the part for ids of sessions and agents, and names of tools: what can
// be part of a URL and of a NATS subject as it is.
func nameOf() *jsonschema.Schema {
	return itemOf(resolve(schema().Properties["sessions"]).Properties["ids"])
}

// conform reports what the schema refuses of the document's values, where nothing
// else was said of the same key. The walk has left out of them what has the
// wrong type or a key that is not known.
func (w *walk) conform(root any) {
	err := schema().Validate(root)
	if err == nil {
		return
	}
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		w.report("", fmt.Sprintf("can't be checked: %v", err))
		return
	}
	for _, leaf := range leaves(invalid, nil) {
		key, part, value := find(leaf.InstanceLocation, root)
		keyword := leaf.AbsoluteKeywordLocation[strings.LastIndexByte(leaf.AbsoluteKeywordLocation, '/')+1:]
		if list, ok := value.([]any); ok && keyword == "uniqueItems" {
			w.twice(key, list)
			continue
		}
		if keyword == "not" && len(w.problems.Problems) > 0 {
			continue // check has said it of one of the keys that exclude each other
		}
		w.report(key, refusal(key, part, keyword, value))
	}
}

// leaves are the errors without a cause of their own.
func leaves(e *jsonschema.ValidationError, to []*jsonschema.ValidationError) []*jsonschema.ValidationError {
	if len(e.Causes) == 0 {
		return append(to, e)
	}
	for _, cause := range e.Causes {
		to = leaves(cause, to)
	}
	return to
}

// find follows a JSON pointer through the schema and the document: the key as
// messages have it, its part of the schema, its value. No key that is known needs
// an escape.
func find(pointer string, root any) (key string, part *jsonschema.Schema, value any) {
	part, value = schema(), root
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		switch v := value.(type) {
		case map[string]any:
			key = join(key, token)
			part, value = resolve(part.Properties[token]), v[token]
		case []any:
			if i, err := strconv.Atoi(token); err == nil && i < len(v) {
				key, part, value = key+"["+token+"]", itemOf(part), v[i]
			}
		}
	}
	return key, part, value
}

func join(section, name string) string {
	if section == "" {
		return name
	}
	return section + "." + name
}

// twice reports the elements of a list that stand there once more.
func (w *walk) twice(key string, list []any) {
	for i, element := range list {
		if name, ok := element.(string); ok && slices.Index(list, element) < i {
			w.report(key+"["+strconv.Itoa(i)+"]", fmt.Sprintf("%s stands there twice, expected distinct ones", name))
		}
	}
}

// refusal says that the schema refuses value, and what it expects.
func refusal(key string, part *jsonschema.Schema, keyword string, value any) string {
	text, isText := value.(string)
	switch {
	case keyword == "enum":
		return fmt.Sprintf("is %s, expected %s", quote(text), oneOf(part.Enum))
	case keyword == "minimum" || keyword == "maximum":
		if part.Maximum != nil && part.Minimum != nil {
			return fmt.Sprintf("is %v, expected %s to %s", value, part.Minimum.RatString(), part.Maximum.RatString())
		}
		return fmt.Sprintf("is %v, expected at least %s", value, part.Minimum.RatString())
	case keyword == "minLength":
		return "is empty, expected " + part.Title
	case strings.HasSuffix(key, "url") && isText:
		return "is no such address, expected " + part.Title // it may hold a password
	case isText && part.Title != "":
		return fmt.Sprintf("is %s, expected %s", shown(text, part), part.Title)
	}
	return "is not what the schema of worker.yaml describes (worker config schema prints it)"
}

// shown writes a duration as String does, where that is refused too, and
// everything else with quotes.
func shown(text string, part *jsonschema.Schema) string {
	if d, err := time.ParseDuration(text); err == nil && part.Validate(Duration(d).String()) != nil {
		return Duration(d).String()
	}
	return quote(text)
}

// oneOf lists words for a message: a, b or c.
func oneOf(allowed []any) string {
	var words []string
	for _, a := range allowed {
		words = append(words, fmt.Sprint(a))
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

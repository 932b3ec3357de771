package schema

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"path"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"toolhand/internal/document"
)

// A Schema is the compiled schema of a tool's input. It is immutable, and any number of
// goroutines may use it.
type Schema struct {
	compiled *jsonschema.Schema
	// byLocation finds the part of the schema that a violation names.
	byLocation map[string]*jsonschema.Schema
	// work bounds the work on an input; nil for a form, which is our own.
	work *work
	// order is the schema as it is written, where its keys have an order; nil but for a form.
	order    *document.Node
	fileRef  string
	warnings []string
}

// FileRef is the name of a file that the schema refers to; empty if there is none.
func (s *Schema) FileRef() string { return s.fileRef }

// Warnings say what of the schema is not checked, a line each.
func (s *Schema) Warnings() []string { return s.warnings }

// Options say how a schema is compiled. The zero value reads no files.
type Options struct {
	// Dir is the folder, absolute, that a $ref may read files of, and File the absolute
	// path of the file that has the schema. Empty: no file is read.
	Dir, File string
	// AssertFormats says that format is checked too. Else it is an annotation, as is all
	// about the content of a string.
	AssertFormats bool
	// Log receives a line for each pattern that takes too long. Nil discards it.
	Log *slog.Logger
}

func (o Options) url() string {
	if o.File == "" {
		return "toolhand:///input_schema"
	}
	return (&url.URL{Scheme: "file", Path: o.File}).String()
}

// refusal is the error of a reference that is not followed.
type refusal struct {
	url  string
	text string
}

func (r *refusal) Error() string { return r.text }

// load reads a schema file that a $ref or $schema names. Only files below the folder are
// read; where a symbolic link in it leads is the operator's choice.
func (o Options) load(target string) (*document.Node, error) {
	refuse := func(format string, args ...any) (*document.Node, error) {
		return nil, &refusal{target, fmt.Sprintf(format, args...)}
	}
	u, err := url.Parse(target)
	if err != nil {
		return refuse("the reference %s is not a URL: expected a path within the manifest's folder", document.Quote(target))
	}
	if u.Scheme != "file" || u.Host != "" || o.Dir == "" {
		return refuse("the reference %s is not followed: expected a file within the manifest's folder, or a part of the same schema", document.Quote(target))
	}
	rel, err := filepath.Rel(o.Dir, filepath.FromSlash(u.Path))
	if err != nil || !filepath.IsLocal(rel) {
		return refuse("the reference to %s leads out of the manifest's folder: expected a file within it", document.Quote(path.Base(u.Path)))
	}
	data, err := document.ReadFile(filepath.Join(o.Dir, rel))
	if err != nil {
		return refuse("the reference to %s: %s", document.Quote(filepath.ToSlash(rel)), err)
	}
	ps := &document.Problems{File: rel}
	n := document.Parse(ps, rel, data)
	if n == nil && len(ps.List) == 0 {
		ps.Add("the file is empty")
	}
	if len(ps.List) == 0 && checkIDs(ps, n, "") {
		checkSize(ps, n, "")
	}
	if ps.Err() != nil {
		return refuse("the reference to a file that is broken: %s", ps.List[0])
	}
	return n, nil
}

// Compile compiles the schema n. What is wrong goes to ps, with pointer as that of n,
// and then the result is nil.
func Compile(ps *document.Problems, n *document.Node, pointer string, o Options) *Schema {
	switch top := n.Get("type"); {
	case n.Kind != document.Mapping:
		ps.At(n, pointer, "expected a JSON Schema whose top is `type: object`, found %s", document.Describe(n.Value()))
		return nil
	case top == nil:
		ps.At(n, pointer, "expected `type: object` at its top, found no type")
		return nil
	case top.Kind != document.String || top.Text != "object":
		ps.At(top, document.Below(pointer, "type"), "expected \"object\" at the top of a schema, found %s", document.Describe(top.Value()))
		return nil
	}
	if !checkIDs(ps, n, pointer) || !checkReferences(ps, n, pointer, o) || !checkSize(ps, n, pointer) {
		return nil
	}
	s := &Schema{byLocation: make(map[string]*jsonschema.Schema), work: newWork()}
	weigher := &weigher{work: s.work}
	c := jsonschema.NewCompiler()
	c.RegisterExtension("work", nil, weigher)
	c.RegisterExtension(patternKey, nil, &ecmaPatterns{work: s.work, log: o.Log})
	c.Draft = jsonschema.Draft2020
	c.AssertFormat = o.AssertFormats
	c.Formats["regex"] = isPattern
	c.LoadURL = func(target string) (io.ReadCloser, error) {
		file, err := o.load(target)
		if err != nil {
			return nil, err
		}
		if s.fileRef == "" {
			s.fileRef = filepath.Base(target)
		}
		return io.NopCloser(bytes.NewReader(s.prepared(file, o).JSON())), nil
	}
	compiled, err := compileBounded(c, o.url(), s.prepared(n, o).JSON())
	if err != nil {
		locate(ps, n, pointer, o, err)
		return nil
	}
	s.compiled = compiled
	adopt(s, weigher.anchors)
	return s
}

func compileBounded(c *jsonschema.Compiler, base string, data []byte) (s *jsonschema.Schema, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the schema's compiler panicked: %v\n%s", r, debug.Stack())
		}
	}()
	if err := c.AddResource(base, bytes.NewReader(data)); err != nil {
		return nil, err
	}
	return c.Compile(base)
}

// locate tells of a schema that does not compile, at the places it is wrong.
func locate(ps *document.Problems, n *document.Node, pointer string, o Options, err error) {
	var invalid *jsonschema.ValidationError
	if errors.As(err, &invalid) {
		for _, leaf := range leaves(invalid, nil) {
			where := unescapeLocation(leaf.InstanceLocation)
			at := n.At(where)
			ps.At(at, pointer+where, "%s, found %s", schemaMessage(leaf), document.Describe(at.Value()))
		}
		return
	}
	var refused *refusal
	if errors.As(err, &refused) {
		ps.At(findReference(n, o.url(), refused.url), pointer, "%s", refused.text)
		return
	}
	text := err.Error()
	var se *jsonschema.SchemaError
	if errors.As(err, &se) && se.Err != nil {
		text = se.Err.Error()
	}
	text = strings.TrimPrefix(text, "jsonschema: ")
	if target, ok := strings.CutSuffix(text, " not found"); ok {
		ref := findReference(n, o.url(), target)
		ps.At(ref, pointer, "the reference %s leads nowhere: expected a part of the schema, such as #/$defs/NAME", document.Quote(ref.Text))
		return
	}
	ps.At(n, pointer, "%s", text)
}

func schemaMessage(leaf *jsonschema.ValidationError) string {
	message := leaf.Message
	if message == "" {
		message = "not a JSON Schema"
	}
	return document.Cut(strings.Replace(message, ", but got ", ", not ", 1), 300)
}

// leaves collects the errors that have no cause of their own.
func leaves(ve *jsonschema.ValidationError, to []*jsonschema.ValidationError) []*jsonschema.ValidationError {
	if len(ve.Causes) == 0 {
		return append(to, ve)
	}
	for _, cause := range ve.Causes {
		to = leaves(cause, to)
	}
	return to
}

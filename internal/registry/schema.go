package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// schema is a compiled input schema.
type schema struct {
	compiled *jsonschema.Schema
	// byLocation finds the part of the schema that a violation names.
	byLocation map[string]*jsonschema.Schema
	// work bounds the work on an input; nil for the schema of manifests, which is
	// our own.
	work *work
	// fileRef is a $ref that leads to another file, if there is one.
	fileRef string
}

// schemaHome is the folder that a schema's $ref may read from. Its zero value
// is none.
type schemaHome struct {
	// dir is the folder, absolute and without symbolic links.
	dir string
	// file is the absolute path of the schema's or the manifest's file.
	file string
}

func (h schemaHome) url() string {
	if h.file == "" {
		return "toolhand:///input_schema"
	}
	return (&url.URL{Scheme: "file", Path: h.file}).String()
}

// refusal is the error of a reference that is not followed.
type refusal struct {
	url  string
	text string
}

func (r *refusal) Error() string { return r.text }

// load reads a schema file that a $ref or $schema names. Only files of the
// folder are read: os.Root holds against .. and symbolic links.
func (h schemaHome) load(target string) (io.ReadCloser, error) {
	refuse := func(format string, args ...any) (io.ReadCloser, error) {
		return nil, &refusal{target, fmt.Sprintf(format, args...)}
	}
	u, err := url.Parse(target)
	if err != nil {
		return refuse("the reference %s is not a URL: expected a path within the manifest's folder", quoteShort(target))
	}
	if u.Scheme != "file" || u.Host != "" || h.dir == "" {
		return refuse("the reference %s is not followed: expected a file within the manifest's folder, or a part of the same schema", quoteShort(target))
	}
	rel, err := filepath.Rel(h.dir, filepath.FromSlash(u.Path))
	if err != nil || !filepath.IsLocal(rel) {
		return refuse("the reference to %s leads out of the manifest's folder: expected a file within it", quoteShort(path.Base(u.Path)))
	}
	data, err := readIn(h.dir, rel)
	if err != nil {
		return refuse("the reference to %s: %s", quoteShort(filepath.ToSlash(rel)), err)
	}
	ps := &problems{file: rel}
	n := parseFile(ps, rel, data)
	if len(ps.list) == 0 && checkIDs(ps, n) {
		checkSize(ps, n)
	}
	if len(ps.list) > 0 {
		return refuse("the reference to a file that is broken: %s", ps.sorted()[0])
	}
	return io.NopCloser(bytes.NewReader(n.json())), nil
}

// readIn reads the regular file rel of the folder dir, up to maxFileBytes.
func readIn(dir, rel string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, plain(err)
	}
	defer root.Close()
	// Asked before it is opened: opening a named pipe would wait for a writer.
	info, err := root.Stat(rel)
	if err != nil {
		return nil, plain(err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("expected a regular file, found %s", fileKind(info.Mode()))
	}
	f, err := root.Open(rel)
	if err != nil {
		return nil, plain(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, plain(err)
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("expected at most %d bytes, found more", maxFileBytes)
	}
	return data, nil
}

// plain takes the path out of an error of package os: the caller names it.
func plain(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func fileKind(m os.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&os.ModeNamedPipe != 0:
		return "a named pipe"
	case m&os.ModeSocket != 0:
		return "a socket"
	case m&os.ModeDevice != 0:
		return "a device"
	}
	return "something else"
}

// compileSchema compiles the schema n. What is wrong goes to ps, and then the
// result is nil.
func compileSchema(ps *problems, n *node, home schemaHome) *schema {
	if n.kind != kindObject {
		ps.at(n, "input_schema: expected a JSON Schema whose top is `type: object`, found %s", n.describe())
		return nil
	}
	switch top := n.get("type"); {
	case top == nil:
		ps.at(n, "input_schema: expected `type: object` at its top, found no type")
		return nil
	case top.kind != kindString || top.text != "object":
		ps.at(top, "input_schema: expected `type: object` at its top, found %s", top.describe())
		return nil
	}
	if !checkIDs(ps, n) || !checkReferences(ps, n, home) || !checkSize(ps, n) {
		return nil
	}
	s := &schema{byLocation: make(map[string]*jsonschema.Schema), work: newWork()}
	weigher := &weigher{work: s.work}
	c := jsonschema.NewCompiler()
	c.RegisterExtension("work", nil, weigher)
	c.Draft = jsonschema.Draft2020
	c.AssertFormat = true
	c.Formats["regex"] = isPattern
	c.LoadURL = func(target string) (io.ReadCloser, error) {
		r, err := home.load(target)
		if err == nil && s.fileRef == "" {
			s.fileRef = filepath.Base(target)
		}
		return r, err
	}
	compiled, err := compileBounded(c, home.url(), n.json())
	if err != nil {
		locate(ps, n, home, err)
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
func locate(ps *problems, n *node, home schemaHome, err error) {
	var invalid *jsonschema.ValidationError
	if errors.As(err, &invalid) {
		for _, leaf := range leaves(invalid, nil) {
			at := n.at(unescapeLocation(leaf.InstanceLocation))
			ps.at(at, "input_schema: %s, found %s", schemaMessage(leaf), at.describe())
		}
		return
	}
	var refused *refusal
	if errors.As(err, &refused) {
		ps.at(findReference(n, home.url(), refused.url), "input_schema: %s", refused.text)
		return
	}
	text := err.Error()
	var se *jsonschema.SchemaError
	if errors.As(err, &se) && se.Err != nil {
		text = se.Err.Error()
	}
	text = strings.TrimPrefix(text, "jsonschema: ")
	if target, ok := strings.CutSuffix(text, " not found"); ok {
		ref := findReference(n, home.url(), target)
		ps.at(ref, "input_schema: the reference %s leads nowhere: expected a part of the schema, such as #/$defs/NAME", quoteShort(ref.text))
		return
	}
	ps.at(n, "input_schema: %s", text)
}

func schemaMessage(leaf *jsonschema.ValidationError) string {
	message := leaf.Message
	if message == "" {
		message = "not a JSON Schema"
	}
	return shortenTo(strings.Replace(message, ", but got ", ", not ", 1), 300)
}

func shortenTo(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

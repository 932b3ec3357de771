package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// maxSize bounds a file, in bytes. A worker.yaml of a thousand sessions
	// has about 50 kB.
	maxSize = 1 << 20
	// maxDepth bounds the nesting of brackets. The deepest key needs three;
	// the parser's time grows with the square of the depth.
	maxDepth = 32
)

// Load reads the file at path over the defaults. A file with anything wrong in
// it gives an [*Error] that lists all of it; one that can't be read gives the
// error of the file system. An empty file is the defaults; an empty path too,
// without a file.
func Load(path string) (*Config, error) {
	cfg := Default()
	if path == "" {
		return &cfg, nil
	}
	data, err := readBounded(path, maxSize)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if err := parse(path, data, &cfg); err != nil {
		return nil, err
	}
	return &cfg, nil
}

// readBounded reads a regular file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	// A pipe or a device could keep us waiting for ever, already at opening.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: has more than %d bytes", path, limit)
	}
	return data, nil
}

// parse lays the document over cfg. Its error is an *Error.
func parse(file string, data []byte, cfg *Config) error {
	w := &walk{file: file, seen: map[string]*token.Position{}, anchors: map[string]ast.Node{}}
	if body := w.document(bytes.TrimPrefix(data, []byte("\ufeff"))); body != nil {
		values := w.value(body, reflect.ValueOf(cfg).Elem(), schema(), "")
		w.check(cfg)
		w.conform(values)
	}
	if len(w.problems.Problems) > 0 {
		w.problems.sort()
		return &w.problems
	}
	w.resolvePaths(reflect.ValueOf(cfg).Elem(), "", filepath.Dir(file))
	return nil
}

// document parses data and gives its one document, nil if it is empty or can't
// be parsed; the latter has been reported.
func (w *walk) document(data []byte) ast.Node {
	if !utf8.Valid(data) {
		w.add(positionOfInvalid(data), "", "is not UTF-8, expected YAML in UTF-8")
		return nil
	}
	tokens := lexer.Tokenize(string(data))
	depth := 0
	for _, tk := range tokens {
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		}
		if depth > maxDepth {
			w.add(tk.Position, "", fmt.Sprintf("brackets are nested more than %d deep, expected the keys of worker.yaml", maxDepth))
			return nil
		}
	}
	// Duplicate keys are allowed here so that all of them are reported.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var syntax yaml.Error
		if errors.As(err, &syntax) && syntax.GetToken() != nil {
			w.add(syntax.GetToken().Position, "", syntax.GetMessage()+", expected YAML")
		} else {
			w.add(&token.Position{Line: 1, Column: 1}, "", fmt.Sprintf("%v, expected YAML", err))
		}
		return nil
	}
	docs := file.Docs
	if len(docs) > 1 {
		// %YAML 1.2 is a document of its own to the parser.
		if _, ok := docs[0].Body.(*ast.DirectiveNode); ok {
			docs = docs[1:]
		}
	}
	if len(docs) == 0 {
		return nil
	}
	if len(docs) > 1 {
		pos := &token.Position{Line: 1, Column: 1}
		switch second := docs[1]; {
		case second.Start != nil:
			pos = second.Start.Position
		case second.Body != nil: // behind a directive or "..."
			pos = position(second.Body)
		}
		w.add(pos, "", "a second document begins here, expected one")
	}
	return docs[0].Body
}

// positionOfInvalid is where the first byte stands that is not UTF-8.
func positionOfInvalid(data []byte) *token.Position {
	pos := &token.Position{Line: 1, Column: 1}
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 {
			break
		}
		pos.Column++
		if r == '\n' {
			pos.Line, pos.Column = pos.Line+1, 1
		}
		data = data[n:]
	}
	return pos
}

// resolvePaths makes relative paths relative to the file's directory, defaults
// too: that a default is written out must not change what it means.
func (w *walk) resolvePaths(v reflect.Value, prefix, dir string) {
	for i := range v.NumField() {
		field, of := v.Field(i), v.Type().Field(i)
		key := prefix + yamlName(of)
		switch {
		case field.Kind() == reflect.Struct:
			w.resolvePaths(field, key+".", dir)
		case of.Tag.Get("config") == "path":
			if path := field.String(); path != "" && !filepath.IsAbs(path) {
				field.SetString(filepath.Join(dir, path))
			}
		}
	}
}

// yamlName is the key of a field.
func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

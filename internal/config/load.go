package config

import (
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"toolhand/internal/document"
	"toolhand/internal/schema"
)

// Load reads the file at path over the defaults. A file with anything wrong in
// it gives a *[document.Errors] that lists all of it; one that can't be read gives the
// error of the file system. An empty file is the defaults; an empty path too,
// without a file.
func Load(path string) (*Config, error) {
	cfg := Default()
	if path == "" {
		return &cfg, nil
	}
	data, err := readBounded(path, document.MaxFile)
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

// formText is the one place where keys, types, bounds and defaults stand.
//
//go:embed worker.schema.json
var formText string

var form = sync.OnceValue(func() *schema.Form { return schema.NewForm(formText) })

// Schema is the JSON Schema of worker.yaml (draft 2020-12), for editors. [Load]
// takes nothing that it refuses. The slice is the caller's own.
func Schema() []byte { return form().Text() }

// parse lays the document over cfg. Its error is a *document.Errors.
func parse(file string, data []byte, cfg *Config) error {
	ps := &document.Problems{File: file}
	top := document.ParseYAML(ps, data)
	if top != nil {
		keysInFile(ps, top, "")
	}
	// Each step needs that the one before found nothing.
	for _, step := range []func(){
		func() { form().Check(ps, top) },
		func() { document.Decode(ps, top, "", cfg) },
		func() { check(ps, top, cfg) },
	} {
		if top != nil && len(ps.List) == 0 {
			step()
		}
	}
	if err := ps.Err(); err != nil {
		return err
	}
	resolvePaths(reflect.ValueOf(cfg).Elem(), filepath.Dir(file))
	return nil
}

// keysInFile tells of keys of the API that stand in the file itself, and repeats none.
func keysInFile(ps *document.Problems, n *document.Node, pointer string) {
	if strings.HasPrefix(n.Text, "sk-ant-") || strings.HasPrefix(n.Text, "sk-") && strings.Contains(pointer, "key") {
		ps.At(n, pointer, "expected no key of the API in this file: put it into ANTHROPIC_API_KEY, or into a file that upstream.api_key_file names (mode 0600)")
	}
	for i, item := range n.Items {
		name := strconv.Itoa(i)
		if n.Kind == document.Mapping {
			name = n.Keys[i].Text
		}
		keysInFile(ps, item, document.Below(pointer, name))
	}
}

// resolvePaths makes relative paths relative to the file's directory, defaults
// too: that a default is written out must not change what it means.
func resolvePaths(v reflect.Value, dir string) {
	for i := range v.NumField() {
		field, of := v.Field(i), v.Type().Field(i)
		switch {
		case field.Kind() == reflect.Struct:
			resolvePaths(field, dir)
		case of.Tag.Get("config") == "path":
			if path := field.String(); path != "" && !filepath.IsAbs(path) {
				field.SetString(filepath.Join(dir, path))
			}
		}
	}
}

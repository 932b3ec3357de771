package document

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of a text. People write files, but a slip (a huge file, an alias bomb) must not
// take a running worker down; other texts come from outside.
const (
	// MaxFile is the size of a file, in bytes.
	MaxFile = 1 << 20
	// MaxValues is how many values a text holds at most, its aliases replaced.
	MaxValues = 50_000
	// MaxDepth is how deep they are nested at most.
	MaxDepth = 100

	maxText         = 4 * MaxFile // bytes of strings, aliases replaced
	maxExponent     = 400
	maxNumberLength = 1024
)

// ReadFile reads a regular file of at most [MaxFile] bytes. Its errors name no path.
func ReadFile(path string) ([]byte, error) {
	// Asked before it is opened: opening a named pipe would wait for a writer.
	info, err := os.Stat(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("expected a regular file, found %s", kindOfFile(info.Mode()))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if len(data) > MaxFile {
		return nil, fmt.Errorf("expected at most %d bytes, found more", MaxFile)
	}
	return data, nil
}

func withoutPath(err error) error {
	if pe, ok := err.(*os.PathError); ok { //nolint:errorlint // package os wraps none of its own
		return pe.Err
	}
	return err
}

func kindOfFile(m os.FileMode) string {
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

// Parse reads the one value of a text as the ending of its file's name says: .json, else
// YAML. What is wrong goes to ps; the result is nil where nothing can be read, or
// where there is nothing in the text.
func Parse(ps *Problems, name string, data []byte) *Node {
	if strings.EqualFold(filepath.Ext(name), ".json") {
		return ParseJSON(ps, data)
	}
	return ParseYAML(ps, data)
}

// checkText refuses what neither format takes.
func checkText(ps *Problems, data []byte) bool {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			ps.At(placeOf(data, i), "", "the text is not valid UTF-8")
			return false
		}
		i += size
	}
	return true
}

// placeOf is the line and column of a byte offset.
func placeOf(data []byte, offset int) *Node {
	before := data[:min(max(offset, 0), len(data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return &Node{Line: bytes.Count(before, []byte{'\n'}) + 1, Column: utf8.RuneCount(before[start:]) + 1}
}

// trail is the way to a value, of which a pointer is made only where something is wrong: of
// long keys with many values below them the pointers are longer than the text by far.
type trail struct {
	up   *trail
	node *Node
	item int
}

// maxToken is how much of a key a pointer has, in bytes: what is longer is for nobody to read.
const maxToken = 1000

func (t *trail) pointer() string {
	if t == nil {
		return ""
	}
	if t.node.Kind == List {
		return t.up.pointer() + "/" + strconv.Itoa(t.item)
	}
	return Below(t.up.pointer(), Cut(t.node.Keys[t.item].Text, maxToken))
}

// finish tells of keys that stand twice in one mapping, and of numbers that can't be
// worked with, anywhere below n.
func (n *Node) finish(ps *Problems, at *trail) {
	if n.Kind == Number {
		if expected := checkNumber(n.Text); expected != "" {
			ps.At(n, at.pointer(), "expected %s, found %s", expected, Short(n.Text))
		}
	}
	if len(n.Keys) > 1 {
		n.twice(ps, at)
	}
	for i, item := range n.Items {
		if item.Kind >= List || item.Kind == Number && checkNumber(item.Text) != "" {
			item.finish(ps, &trail{at, n, i})
		}
	}
}

// twice tells of keys that stand twice.
func (n *Node) twice(ps *Problems, at *trail) {
	seen := make(map[string]*Node, len(n.Keys))
	for _, k := range n.Keys {
		if first := seen[k.Text]; first != nil {
			ps.At(k, at.pointer(), "expected each key once, found %s twice, first in line %d", Quote(k.Text), first.Line)
			continue
		}
		seen[k.Text] = k
	}
}

// checkNumber says what is expected instead of a number, or nothing: the validator makes
// an exact fraction of it, with as many digits as its exponent.
func checkNumber(s string) string {
	if len(s) > maxNumberLength {
		return fmt.Sprintf("a number of at most %d characters", maxNumberLength)
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		if exp, err := strconv.Atoi(s[i+1:]); err != nil || exp > maxExponent || exp < -maxExponent {
			return fmt.Sprintf("a number whose exponent is between -%d and %d", maxExponent, maxExponent)
		}
	}
	return ""
}

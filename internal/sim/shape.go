package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// check looks at one JSON value and returns what is wrong with it, or "". path
// names the value in the message.
type check func(path string, v json.RawMessage) string

// member is a field of an object.
type member struct {
	check    check
	required bool
}

// shape is an object: its fields, and no others.
type shape map[string]member

func required(c check) member { return member{c, true} }
func optional(c check) member { return member{c, false} }

// members splits an object and checks it. Names are compared exactly, which
// encoding/json's struct decoding would not do.
func members(path string, v json.RawMessage, want shape) (map[string]json.RawMessage, string) {
	fields, problem := split(path, v)
	if problem == "" {
		problem = want.check(path, fields)
	}
	if problem != "" {
		return nil, problem
	}
	return fields, ""
}

func split(path string, v json.RawMessage) (map[string]json.RawMessage, string) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(v, &fields) != nil || fields == nil {
		return nil, at(path, "must be an object")
	}
	return fields, ""
}

// check looks at an object's fields. What is wrong is looked for once more in the
// order of the names, so that the same object always gets the same answer.
func (want shape) check(path string, fields map[string]json.RawMessage) string {
	for name := range fields {
		if _, known := want[name]; !known {
			return at(join(path, name), "Extra inputs are not permitted")
		}
	}
	for name, m := range want {
		if m.problem(path, name, fields[name]) == "" {
			continue
		}
		for _, name := range sortedNames(want) {
			if problem := want[name].problem(path, name, fields[name]); problem != "" {
				return problem
			}
		}
	}
	return ""
}

func (m member) problem(path, name string, value json.RawMessage) string {
	switch {
	case value != nil:
		return m.check(join(path, name), value)
	case m.required:
		return at(join(path, name), "Field required")
	}
	return ""
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func at(path, problem string) string {
	if path == "" {
		return problem
	}
	return path + ": " + problem
}

func objectOf(want shape) check {
	return func(path string, v json.RawMessage) string {
		_, problem := members(path, v, want)
		return problem
	}
}

func arrayOf(c check) check {
	return func(path string, v json.RawMessage) string {
		var items []json.RawMessage
		if json.Unmarshal(v, &items) != nil || items == nil {
			return at(path, "must be an array")
		}
		for i, item := range items {
			if problem := c(join(path, fmt.Sprint(i)), item); problem != "" {
				return problem
			}
		}
		return ""
	}
}

// byType checks an object by the value of its type.
func byType(shapes map[string]shape) check {
	return func(path string, v json.RawMessage) string {
		fields, problem := split(path, v)
		if problem != "" {
			return problem
		}
		typ, _ := stringOf(fields["type"])
		want, known := shapes[typ]
		if !known {
			return at(join(path, "type"), fmt.Sprintf("%q is none of %s", typ, strings.Join(sortedNames(shapes), ", ")))
		}
		return want.check(path, fields)
	}
}

// stringOf reads a string, and reports whether v is one.
func stringOf(v json.RawMessage) (string, bool) {
	if n := len(v); n >= 2 && v[0] == '"' && v[n-1] == '"' && plain(string(v[1:n-1])) {
		return string(v[1 : n-1]), true
	}
	var s *string
	if json.Unmarshal(v, &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

func sortedNames[T any](m map[string]T) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func nullable(c check) check {
	return func(path string, v json.RawMessage) string {
		if bytes.Equal(bytes.TrimSpace(v), []byte("null")) {
			return ""
		}
		return c(path, v)
	}
}

func decodes[T any](what string) check {
	return func(path string, v json.RawMessage) string {
		var x *T
		if json.Unmarshal(v, &x) != nil || x == nil {
			return at(path, "must be "+what)
		}
		return ""
	}
}

func isString(path string, v json.RawMessage) string { return lengthOf(0, 0)(path, v) }
func isBool(path string, v json.RawMessage) string   { return decodes[bool]("a boolean")(path, v) }
func isInteger(path string, v json.RawMessage) string {
	return decodes[int32]("an integer of 32 bits")(path, v)
}

func isObject(path string, v json.RawMessage) string {
	return decodes[map[string]json.RawMessage]("an object")(path, v)
}

// isText is a string that is not empty.
func isText(path string, v json.RawMessage) string { return textUpTo(0)(path, v) }

// textUpTo is a string of 1 to n characters; zero means any number.
func textUpTo(n int) check { return lengthOf(1, n) }

// stringUpTo is a string of up to n characters.
func stringUpTo(n int) check { return lengthOf(0, n) }

func lengthOf(low, high int) check {
	return func(path string, v json.RawMessage) string {
		s, ok := stringOf(v)
		if !ok {
			return at(path, "must be a string")
		}
		n := utf8.RuneCountInString(s)
		if n < low {
			return at(path, fmt.Sprintf("String should have at least %d character", low))
		}
		if high > 0 && n > high {
			return at(path, fmt.Sprintf("String should have at most %d characters", high))
		}
		return ""
	}
}

func oneOf(values ...string) check {
	return func(path string, v json.RawMessage) string {
		if s, ok := stringOf(v); !ok || !slices.Contains(values, s) {
			return at(path, "must be one of "+strings.Join(values, ", "))
		}
		return ""
	}
}

package tools

import (
	"bytes"
	"encoding/json"
	"slices"
)

// A field says of one member of a JSON object what its value must be, and
// whether the object may do without it.
type field struct {
	holds    func(json.RawMessage) bool
	optional bool
}

// blockForms are the content blocks that the API takes in a tool's result, each
// with all the members that it may have: the API refuses a block with any
// other, and the whole send with it.
func blockForms() map[string]map[string]field {
	filled := field{holds: isFilledString}
	note := field{holds: isStringOrNull, optional: true}
	base64 := map[string]field{"media_type": filled, "data": filled}
	url := map[string]field{"url": filled}
	file := map[string]field{"file_id": filled}
	plain := map[string]field{"media_type": {holds: isPlainText}, "data": filled}
	image := oneOf(map[string]map[string]field{"base64": base64, "url": url, "file": file})
	document := oneOf(map[string]map[string]field{"base64": base64, "text": plain, "url": url, "file": file})
	return map[string]map[string]field{
		// An empty text is let through here, since it is replaced afterwards.
		"text":     {"text": {holds: isString}},
		"image":    {"source": {holds: image}},
		"document": {"source": {holds: document}, "title": note, "context": note},
		"search_result": {
			"source":    filled,
			"title":     filled,
			"content":   {holds: arrayOf(oneOf(map[string]map[string]field{"text": {"text": filled}}))},
			"citations": {holds: isCitations},
		},
	}
}

// oneOf makes the check for an object whose member "type" names one of forms.
func oneOf(forms map[string]map[string]field) func(json.RawMessage) bool {
	return func(raw json.RawMessage) bool {
		members, ok := object(raw)
		if !ok {
			return false
		}
		var kind string
		if !isString(members["type"]) || json.Unmarshal(members["type"], &kind) != nil {
			return false
		}
		form, ok := forms[kind]
		if !ok {
			return false
		}
		delete(members, "type")
		return fits(members, form)
	}
}

// fits reports whether members has all that form asks for, and nothing else.
func fits(members map[string]json.RawMessage, form map[string]field) bool {
	for name, f := range form {
		value, ok := members[name]
		if !ok && !f.optional || ok && !f.holds(value) {
			return false
		}
	}
	for name := range members {
		if _, ok := form[name]; !ok {
			return false
		}
	}
	return true
}

func arrayOf(holds func(json.RawMessage) bool) func(json.RawMessage) bool {
	return func(raw json.RawMessage) bool {
		items, ok := array(raw)
		return ok && !slices.ContainsFunc(items, func(item json.RawMessage) bool { return !holds(item) })
	}
}

func isCitations(raw json.RawMessage) bool {
	members, ok := object(raw)
	return ok && fits(members, map[string]field{"enabled": {holds: isBool}})
}

func isString(raw json.RawMessage) bool       { return len(raw) > 0 && raw[0] == '"' }
func isFilledString(raw json.RawMessage) bool { return isString(raw) && len(raw) > len(`""`) }
func isNull(raw json.RawMessage) bool         { return string(raw) == "null" }
func isStringOrNull(raw json.RawMessage) bool { return isString(raw) || isNull(raw) }
func isBool(raw json.RawMessage) bool         { return string(raw) == "true" || string(raw) == "false" }

func isPlainText(raw json.RawMessage) bool {
	var s string
	return isString(raw) && json.Unmarshal(raw, &s) == nil && s == "text/plain"
}

// object takes a JSON object apart. Names are compared exactly, and an object
// that has a name twice is none: readers disagree about which one counts.
func object(raw json.RawMessage) (map[string]json.RawMessage, bool) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, false
	}
	members := map[string]json.RawMessage{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, false
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return nil, false
		}
		if _, twice := members[name.(string)]; twice {
			return nil, false
		}
		members[name.(string)] = value
	}
	return members, true
}

func array(raw json.RawMessage) ([]json.RawMessage, bool) {
	var items []json.RawMessage
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &items) != nil {
		return nil, false
	}
	return items, true
}

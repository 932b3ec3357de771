package content

import "github.com/tidwall/gjson"

// What is checked here is valid JSON already. gjson looks at it in place, so that
// an image of megabytes is not copied once a level.

// A field says of one member of a JSON object what its value must be, and
// whether the object may do without it.
type field struct {
	holds    func(gjson.Result) bool
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
func oneOf(forms map[string]map[string]field) func(gjson.Result) bool {
	return func(raw gjson.Result) bool {
		members, ok := object(raw)
		if !ok {
			return false
		}
		kind := members["type"]
		form, ok := forms[kind.String()]
		if !ok || !isString(kind) {
			return false
		}
		delete(members, "type")
		return fits(members, form)
	}
}

// fits reports whether members has all that form asks for, and nothing else.
func fits(members map[string]gjson.Result, form map[string]field) bool {
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

func arrayOf(holds func(gjson.Result) bool) func(gjson.Result) bool {
	return func(raw gjson.Result) bool {
		all := raw.IsArray()
		if all {
			raw.ForEach(func(_, item gjson.Result) bool {
				all = holds(item)
				return all
			})
		}
		return all
	}
}

func isCitations(raw gjson.Result) bool {
	members, ok := object(raw)
	return ok && fits(members, map[string]field{"enabled": {holds: isBool}})
}

func isString(raw gjson.Result) bool       { return raw.Type == gjson.String }
func isFilledString(raw gjson.Result) bool { return isString(raw) && raw.Str != "" }
func isNull(raw gjson.Result) bool         { return raw.Type == gjson.Null && raw.Exists() }
func isStringOrNull(raw gjson.Result) bool { return isString(raw) || isNull(raw) }
func isBool(raw gjson.Result) bool         { return raw.Type == gjson.True || raw.Type == gjson.False }
func isPlainText(raw gjson.Result) bool    { return isString(raw) && raw.Str == "text/plain" }

// object takes a JSON object apart. Names are compared exactly, and an object
// that has a name twice is none: readers disagree about which one counts.
func object(raw gjson.Result) (map[string]gjson.Result, bool) {
	if !raw.IsObject() {
		return nil, false
	}
	members, once := map[string]gjson.Result{}, true
	raw.ForEach(func(name, value gjson.Result) bool {
		_, twice := members[name.Str]
		members[name.Str], once = value, !twice
		return once
	})
	return members, once
}

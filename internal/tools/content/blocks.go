package content

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// What is checked here is valid JSON already. gjson looks at it in place, so that
// an image of megabytes is not copied once a level.

// A check says what is wrong with a value, and where in it: "" for nothing, else such as
// ".source.type: expected base64, file or url". It shows nothing of the value but the
// names of keys.
type check func(gjson.Result) string

// A field says of one member of a JSON object what its value must be, and
// whether the object may do without it.
type field struct {
	wrong    check
	optional bool
}

// blockForms are the content blocks that the API takes in a tool's result, each
// with all the members that it may have: the API refuses a block with any
// other, and the whole send with it.
func blockForms() map[string]map[string]field {
	filled := field{wrong: wants("text that is not empty", isFilledString)}
	note := field{wrong: wants("text or null", isStringOrNull), optional: true}
	base64 := map[string]field{"media_type": filled, "data": filled}
	url := map[string]field{"url": filled}
	file := map[string]field{"file_id": filled}
	plain := map[string]field{"media_type": {wrong: wants(`"text/plain"`, isPlainText)}, "data": filled}
	image := oneOf(map[string]map[string]field{"base64": base64, "url": url, "file": file})
	document := oneOf(map[string]map[string]field{"base64": base64, "text": plain, "url": url, "file": file})
	return map[string]map[string]field{
		// An empty text is let through here, since it is replaced afterwards.
		"text":     {"text": {wrong: wants("text", isString)}},
		"image":    {"source": {wrong: image}},
		"document": {"source": {wrong: document}, "title": note, "context": note},
		"search_result": {
			"source":    filled,
			"title":     filled,
			"content":   {wrong: arrayOf(oneOf(map[string]map[string]field{"text": {"text": filled}}))},
			"citations": {wrong: wrongCitations},
		},
	}
}

// wants makes the check for a value of one kind.
func wants(expected string, holds func(gjson.Result) bool) check {
	return func(raw gjson.Result) string {
		if holds(raw) {
			return ""
		}
		return ": expected " + expected
	}
}

// oneOf makes the check for an object whose member "type" names one of forms.
func oneOf(forms map[string]map[string]field) check {
	return func(raw gjson.Result) string {
		members, wrong := object(raw)
		if wrong != "" {
			return wrong
		}
		kind := members["type"]
		form, ok := forms[kind.String()]
		if !ok || !isString(kind) {
			return ".type: expected " + strings.Join(slices.Sorted(maps.Keys(forms)), " or ")
		}
		delete(members, "type")
		return misfit(members, form)
	}
}

// misfit says what members lack of what form asks for, or have beside it; of several
// things the first by name, so that it is the same each time.
func misfit(members map[string]gjson.Result, form map[string]field) string {
	first, wrong := "", ""
	found := func(name, text string) {
		if text != "" && (wrong == "" || name < first) {
			first, wrong = name, "."+name+text
		}
	}
	for name, f := range form {
		value, ok := members[name]
		switch {
		case ok:
			found(name, f.wrong(value))
		case !f.optional:
			found(name, ": is missing")
		}
	}
	if wrong != "" {
		return wrong
	}
	for name := range members {
		if _, ok := form[name]; !ok {
			found(shownKey(name), ": the API takes no such key here")
		}
	}
	return wrong
}

var keyName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,39}$`)

// shownKey is the name of a key, or what stands for one that may be no name.
func shownKey(name string) string {
	if keyName.MatchString(name) {
		return name
	}
	return "(a key)"
}

func arrayOf(item check) check {
	return func(raw gjson.Result) string {
		if !raw.IsArray() {
			return ": expected a list"
		}
		n, wrong := 0, ""
		raw.ForEach(func(_, one gjson.Result) bool {
			if wrong = item(one); wrong != "" {
				wrong = "[" + strconv.Itoa(n) + "]" + wrong
			}
			n++
			return wrong == ""
		})
		return wrong
	}
}

func wrongCitations(raw gjson.Result) string {
	members, wrong := object(raw)
	if wrong != "" {
		return wrong
	}
	return misfit(members, map[string]field{"enabled": {wrong: wants("true or false", isBool)}})
}

func isString(raw gjson.Result) bool       { return raw.Type == gjson.String }
func isFilledString(raw gjson.Result) bool { return isString(raw) && raw.Str != "" }
func isNull(raw gjson.Result) bool         { return raw.Type == gjson.Null && raw.Exists() }
func isStringOrNull(raw gjson.Result) bool { return isString(raw) || isNull(raw) }
func isBool(raw gjson.Result) bool         { return raw.Type == gjson.True || raw.Type == gjson.False }
func isPlainText(raw gjson.Result) bool    { return isString(raw) && raw.Str == "text/plain" }

// object takes a JSON object apart, or says why it is none. Names are compared exactly,
// and an object that has a name twice is none: readers disagree about which one counts.
func object(raw gjson.Result) (members map[string]gjson.Result, wrong string) {
	if !raw.IsObject() {
		return nil, ": expected an object"
	}
	members = map[string]gjson.Result{}
	raw.ForEach(func(name, value gjson.Result) bool {
		if _, twice := members[name.Str]; twice {
			wrong = "." + shownKey(name.Str) + ": is there twice"
		}
		members[name.Str] = value
		return wrong == ""
	})
	return members, wrong
}

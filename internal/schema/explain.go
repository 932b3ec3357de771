package schema

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"toolhand/internal/document"
)

// maxLines is how many violations an agent is told at most.
const maxLines = 20

// lines sorts violations, drops repetitions and cuts the list. more is the
// number of violations that were not even explained.
func lines(found []violation, more int) []string {
	slices.SortFunc(found, func(a, b violation) int {
		return cmp.Or(comparePointers(a.pointer, b.pointer), cmp.Compare(a.rank, b.rank), cmp.Compare(a.text(), b.text()))
	})
	var out []string
	for _, v := range found {
		if line := v.String(); len(out) == 0 || out[len(out)-1] != line {
			out = append(out, line)
		}
	}
	if len(out)+more > maxLines {
		shown := min(len(out), maxLines-1)
		more += len(out) - shown
		out = append(out[:shown], fmt.Sprintf("%s%d more", moreLines, more))
	}
	return out
}

const moreLines = "… and "

// comparePointers puts /a/2 before /a/10, and each value before what it holds.
func comparePointers(a, b string) int {
	for a != "" && b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, "/")
		y, b, _ = strings.Cut(b, "/")
		if x == y {
			continue
		}
		if isIndex(x) && isIndex(y) {
			return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
		}
		return cmp.Compare(x, y)
	}
	return cmp.Compare(len(a), len(b))
}

// isIndex reports whether a token may be that of a list's item. It sorts fifty
// thousand pointers, so it makes no errors as strconv does.
func isIndex(token string) bool {
	for i := range len(token) {
		if token[i] < '0' || token[i] > '9' {
			return false
		}
	}
	return token != ""
}

// violation is one line to the agent.
type violation struct {
	// pointer is the JSON pointer of the value, empty for the root.
	pointer         string
	expected, found string
	// rank puts the line on alternatives before the lines of the nearest one.
	rank int
	// keyword is the schema's keyword that was broken.
	keyword string
	// name is the key that should not be there, of a mapping of a form.
	name string
}

func (v violation) text() string {
	if v.name != "" {
		return "unknown key" + v.found + ", expected one of " + v.expected
	}
	if v.found == "" {
		return "expected " + v.expected
	}
	return "expected " + v.expected + ", found " + v.found
}

func (v violation) String() string { return showPointer(v.pointer) + ": " + v.text() }

// showPointer gives a pointer for one line: short, without control characters.
func showPointer(pointer string) string {
	if pointer == "" {
		return "(root)"
	}
	const most = 200
	if len(pointer) > most {
		pointer = pointer[:most/2] + "…" + pointer[len(pointer)-most/2:]
	}
	return document.OneLine(pointer)
}

// explainer turns the validator's tree of errors into violations.
type explainer struct {
	schema *Schema
	root   any
}

// maxExplained bounds how many violations are put into words, since an input
// may break a schema fifty thousand times. It is more than maxLines because some
// turn out to be the same line.
const maxExplained = 3 * maxLines

// explain puts the first violations, in the order of their pointers, into words,
// and counts the rest.
func (e *explainer) explain(ve *jsonschema.ValidationError) (out []violation, more int) {
	all := units(ve, nil)
	slices.SortFunc(all, func(a, b *jsonschema.ValidationError) int {
		return cmp.Or(comparePointers(a.InstanceLocation, b.InstanceLocation), cmp.Compare(a.AbsoluteKeywordLocation, b.AbsoluteKeywordLocation))
	})
	for i, unit := range all {
		if i == maxExplained {
			return out, len(all) - i
		}
		if isAlternatives(unit) {
			out = append(out, e.alternatives(unit)...)
		} else {
			out = append(out, e.leaf(unit)...)
		}
	}
	return out, 0
}

// units collects the errors that are explained each on its own.
func units(ve *jsonschema.ValidationError, to []*jsonschema.ValidationError) []*jsonschema.ValidationError {
	if len(ve.Causes) == 0 || isAlternatives(ve) || strings.HasSuffix(ve.AbsoluteKeywordLocation, "/minContains") {
		return append(to, ve)
	}
	for _, cause := range ve.Causes {
		to = units(cause, to)
	}
	return to
}

func isAlternatives(ve *jsonschema.ValidationError) bool {
	return len(ve.Causes) > 0 && (ve.Message == "anyOf failed" || ve.Message == "oneOf failed")
}

// alternatives tells of an anyOf or oneOf none of whose branches fits. Where all
// of them only want another type or value it is one line; else the nearest
// branch is explained, since the others were hardly meant.
func (e *explainer) alternatives(ve *jsonschema.ValidationError) []violation {
	pointer := unescapeLocation(ve.InstanceLocation)
	if part := e.partOf(ve); part != nil && part.Title != "" {
		return []violation{{pointer: pointer, expected: part.Title}}
	}
	var expected []string
	var nearest []violation
	simple, number, best := true, 0, 0
	for i, cause := range ve.Causes {
		branch, more := e.explain(cause)
		score := more
		for _, v := range branch {
			score++
			switch {
			case v.keyword == "type" && v.pointer == pointer:
				score += 1000
			case v.keyword == "const" || v.keyword == "enum":
				score += 100
			}
		}
		if i == 0 || score < best {
			nearest, number, best = branch, i+1, score
		}
		if len(branch) == 1 && branch[0].pointer == pointer && slices.Contains([]string{"type", "const", "enum"}, branch[0].keyword) {
			if !slices.Contains(expected, branch[0].expected) {
				expected = append(expected, branch[0].expected)
			}
		} else {
			simple = false
		}
	}
	v := violation{pointer: pointer, found: document.Describe(e.value(pointer)), rank: -1}
	if simple {
		v.expected, v.keyword = document.Cut(strings.Join(expected, " or "), 300), "type"
		return []violation{v}
	}
	v.expected = fmt.Sprintf("one of %d alternatives", len(ve.Causes))
	v.found += fmt.Sprintf(" that fits none; nearest is number %d, for which:", number)
	for i := range nearest {
		if nearest[i].pointer == pointer {
			nearest[i].rank++
		}
	}
	return append([]violation{v}, nearest...)
}

// value finds the value of the input that a pointer leads to.
func (e *explainer) value(pointer string) any {
	v := e.root
	if pointer == "" {
		return v
	}
	for _, token := range strings.Split(pointer[1:], "/") {
		switch t := v.(type) {
		case map[string]any:
			v = t[document.Unescape(token)]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(t) {
				return nil
			}
			v = t[i]
		default:
			return nil
		}
	}
	return v
}

// unescapeLocation takes the escapes of a URL out of the validator's locations,
// so that a JSON pointer is left.
func unescapeLocation(location string) string {
	tokens := strings.Split(location, "/")
	for i, token := range tokens {
		if plain, err := url.PathUnescape(token); err == nil {
			tokens[i] = plain
		}
	}
	return strings.Join(tokens, "/")
}

func (e *explainer) leaf(ve *jsonschema.ValidationError) []violation {
	pointer := unescapeLocation(ve.InstanceLocation)
	v := violation{pointer: pointer}
	value := e.value(pointer)
	if ve.Message == "not allowed" {
		return []violation{{pointer: pointer, expected: "nothing here", found: document.Describe(value), keyword: "false"}}
	}
	at := strings.LastIndexByte(ve.AbsoluteKeywordLocation, '/')
	if at < 0 {
		return []violation{{pointer: pointer, expected: document.OneLine(document.Cut(ve.Message, 300))}}
	}
	v.keyword = ve.AbsoluteKeywordLocation[at+1:]
	part := e.partOf(ve)
	if holder := e.dependent(ve.AbsoluteKeywordLocation); holder != nil {
		if expected, ok := dependency(ve.AbsoluteKeywordLocation, holder); ok {
			if e.schema.order != nil {
				expected = strings.NewReplacer("the property ", "the key ", `"`, "").Replace(expected)
			}
			return []violation{{pointer: pointer, expected: expected, found: "none", keyword: "required"}}
		}
	}
	if part == nil {
		v.expected = "a value that fits the schema: " + document.OneLine(document.Cut(ve.Message, 300))
		return []violation{v}
	}
	name := ""
	if isPropertyName(ve.KeywordLocation) {
		token := document.Unescape(pointer[strings.LastIndexByte(pointer, '/')+1:])
		value, name = token, "the property's name to be "
	}
	if object, ok := value.(map[string]any); ok && v.keyword == "required" {
		return e.missing(v, part, object)
	}
	if object, ok := value.(map[string]any); ok && v.keyword == "additionalProperties" {
		return e.additional(v, part, object)
	}
	v.found = counted(v.keyword, value, ve.Message)
	v.expected = expectation(v.keyword, part, value)
	if e.schema.order != nil && v.keyword == "type" && part.Title == "" {
		v.expected = e.formType(part)
	}
	if v.expected == "" {
		v.expected, v.found = "a value that fits the schema: "+document.OneLine(document.Cut(ve.Message, 300)), ""
	}
	v.expected = name + v.expected
	if e.schema.order != nil {
		v.found = formFound(v, part, value)
	}
	return []violation{v}
}

// partOf finds the part of the schema that has the keyword which was broken; nil if that
// is not known.
func (e *explainer) partOf(ve *jsonschema.ValidationError) *jsonschema.Schema {
	at := strings.LastIndexByte(ve.AbsoluteKeywordLocation, '/')
	return e.schema.byLocation[ve.AbsoluteKeywordLocation[:max(at, 0)]]
}

// dependent finds the part of the schema that says dependentRequired, or
// dependencies before draft 2019-09; nil if the keyword is none of these.
func (e *explainer) dependent(location string) *jsonschema.Schema {
	tokens := strings.Split(location, "/")
	if n := len(tokens) - 3; n > 0 && (tokens[n] == "dependentRequired" || tokens[n] == "dependencies") {
		return e.schema.byLocation[strings.Join(tokens[:n], "/")]
	}
	return nil
}

// isPropertyName reports whether the keyword judges the name of a property.
func isPropertyName(keywordLocation string) bool {
	tokens := strings.Split(keywordLocation, "/")
	for i, token := range tokens {
		if token == "propertyNames" && (i == 0 || tokens[i-1] != "properties") {
			return true
		}
	}
	return false
}

func (e *explainer) missing(v violation, part *jsonschema.Schema, object map[string]any) []violation {
	var out []violation
	for _, name := range part.Required {
		if _, ok := object[name]; !ok {
			one := v
			one.expected, one.found = "the property "+document.Quote(name), "none"
			if e.schema.order != nil {
				one.expected = "the key " + name + titleOf(part.Properties[name])
			}
			out = append(out, one)
		}
	}
	return out
}

func (e *explainer) additional(v violation, part *jsonschema.Schema, object map[string]any) []violation {
	var extra, allowed []string
	for name := range part.Properties {
		allowed = append(allowed, name)
	}
next:
	for name := range object {
		if _, ok := part.Properties[name]; ok {
			continue
		}
		for pattern := range part.PatternProperties {
			if pattern.MatchString(name) {
				continue next
			}
		}
		extra = append(extra, name)
	}
	if e.schema.order != nil {
		return e.unknownKeys(v, part, extra)
	}
	for pattern := range part.PatternProperties {
		allowed = append(allowed, "/"+pattern.String()+"/")
	}
	v.expected, v.found = "no properties", listShort(extra)
	if len(allowed) > 0 {
		v.expected += " other than " + listShort(allowed)
	}
	return []violation{v}
}

// listShort quotes at most ten names, sorted.
func listShort(names []string) string {
	slices.Sort(names)
	var quoted []string
	for i, name := range names {
		if i == 10 {
			quoted = append(quoted, fmt.Sprintf("%s%d more", moreLines, len(names)-i))
			break
		}
		quoted = append(quoted, document.Quote(name))
	}
	return strings.Join(quoted, ", ")
}

func showRat(r *big.Rat) string {
	if r.IsInt() {
		return document.Short(r.RatString())
	}
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// showValue gives a value of the schema as JSON.
func showValue(v any) string {
	if s, ok := v.(string); ok {
		return document.Quote(s)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return document.Describe(v)
	}
	return document.Short(string(data))
}

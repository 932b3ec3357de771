package schema

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"toolhand/internal/document"
)

// expectation says what a keyword of the schema expects, as the end of the
// sentence "expected …". It is empty for a keyword that it does not know.
func expectation(keyword string, part *jsonschema.Schema, value any) string {
	// Titles are kept of forms alone, which say in them what is expected.
	if part.Title != "" && keyword != "uniqueItems" {
		return part.Title
	}
	switch keyword {
	case "type":
		return strings.Join(part.Types, " or ")
	case "const":
		if len(part.Constant) == 1 {
			return showValue(part.Constant[0])
		}
	case "enum":
		return oneOf(part.Enum)
	case "format":
		return "the format " + part.Format
	case "not":
		return "a value that the schema's not does not describe"
	case "oneOf":
		return fmt.Sprintf("exactly one of %d alternatives to fit", len(part.OneOf))
	case "contentEncoding":
		return "text in the encoding " + part.ContentEncoding
	case "contentMediaType":
		return "text of the media type " + part.ContentMediaType
	}
	switch value.(type) {
	case string:
		return expectedOfString(keyword, part)
	case []any:
		return expectedOfArray(keyword, part)
	case map[string]any:
		return expectedOfObject(keyword, part)
	}
	return expectedOfNumber(keyword, part)
}

func oneOf(values []any) string {
	const most = 20
	var shown []string
	for i, v := range values {
		if i == most {
			shown = append(shown, fmt.Sprintf("%s%d more", moreLines, len(values)-i))
			break
		}
		shown = append(shown, showValue(v))
	}
	if len(shown) == 1 {
		return shown[0]
	}
	return "one of " + strings.Join(shown, ", ")
}

func expectedOfString(keyword string, part *jsonschema.Schema) string {
	switch keyword {
	case "pattern":
		pattern := fmt.Sprint(part.Pattern)
		if ecma, ok := part.Extensions[patternKey].(*ecmaPattern); ok {
			pattern = ecma.re.String()
		}
		return "a string that matches " + document.Cut(pattern, 200)
	case "minLength":
		return fmt.Sprintf("at least %d characters", part.MinLength)
	case "maxLength":
		return fmt.Sprintf("at most %d characters", part.MaxLength)
	}
	return ""
}

func expectedOfNumber(keyword string, part *jsonschema.Schema) string {
	switch keyword {
	case "minimum":
		return "at least " + showRat(part.Minimum)
	case "maximum":
		return "at most " + showRat(part.Maximum)
	case "exclusiveMinimum":
		return "more than " + showRat(part.ExclusiveMinimum)
	case "exclusiveMaximum":
		return "less than " + showRat(part.ExclusiveMaximum)
	case "multipleOf":
		return "a multiple of " + showRat(part.MultipleOf)
	}
	return ""
}

func expectedOfArray(keyword string, part *jsonschema.Schema) string {
	switch keyword {
	case "minItems":
		return fmt.Sprintf("at least %d items", part.MinItems)
	case "maxItems":
		return fmt.Sprintf("at most %d items", part.MaxItems)
	case "additionalItems":
		if items, ok := part.Items.([]*jsonschema.Schema); ok {
			return fmt.Sprintf("at most %d items", len(items))
		}
	case "uniqueItems":
		return "items that all differ"
	case "minContains":
		return fmt.Sprintf("at least %d of its items to fit the schema's contains", part.MinContains)
	case "maxContains":
		return fmt.Sprintf("at most %d of its items to fit the schema's contains", part.MaxContains)
	}
	return ""
}

func expectedOfObject(keyword string, part *jsonschema.Schema) string {
	switch keyword {
	case "minProperties":
		return fmt.Sprintf("at least %d properties", part.MinProperties)
	case "maxProperties":
		return fmt.Sprintf("at most %d properties", part.MaxProperties)
	}
	return ""
}

// counted says how many a value holds, where a bound on that number is broken.
func counted(keyword string, value any, message string) string {
	switch keyword {
	case "minItems", "maxItems", "additionalItems":
		if items, ok := value.([]any); ok {
			return fmt.Sprintf("%d", len(items))
		}
	case "minProperties", "maxProperties":
		if object, ok := value.(map[string]any); ok {
			return fmt.Sprintf("%d", len(object))
		}
	case "minLength", "maxLength":
		if text, ok := value.(string); ok {
			return fmt.Sprintf("%d in %s", utf8.RuneCountInString(text), document.Describe(value))
		}
	case "oneOf":
		return document.Describe(value) + " that fits more than one"
	case "uniqueItems":
		return strings.TrimSuffix(strings.Replace(message, "items at index ", "equal items at ", 1), " are equal")
	}
	return document.Describe(value)
}

// dependency tells of a property that another one asks for.
func dependency(keywordLocation string, part *jsonschema.Schema) (expected string, ok bool) {
	tokens := strings.Split(keywordLocation, "/")
	if len(tokens) < 3 {
		return "", false
	}
	name := document.Unescape(unescapeLocation(tokens[len(tokens)-2]))
	needs := part.DependentRequired[name]
	if needs == nil {
		needs, _ = part.Dependencies[name].([]string)
	}
	i, err := strconv.Atoi(tokens[len(tokens)-1])
	if err != nil || i < 0 || i >= len(needs) {
		return "", false
	}
	return fmt.Sprintf("the property %s, because %s is there", document.Quote(needs[i]), document.Quote(name)), true
}

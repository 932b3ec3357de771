package schema

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"toolhand/internal/document"
)

const typical = `{"type":"object","properties":{"path":{"type":"string","minLength":1},"line":{"type":"integer","minimum":1},"edits":{"type":"array","items":{"type":"object","properties":{"from":{"type":"string"},"to":{"type":"string"}},"required":["from","to"],"additionalProperties":false}}},"required":["path"],"additionalProperties":false}`

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		mustTool(b, typical)
	}
}

func BenchmarkValidate(b *testing.B) {
	tool := mustTool(b, typical)
	input := []byte(`{"path":"internal/loop/ledger.go","line":42,"edits":[{"from":"a","to":"b"},{"from":"c","to":"d"}]}`)
	b.ReportAllocs()
	for b.Loop() {
		if err := tool.Validate(input); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidateInvalid(b *testing.B) {
	tool := mustTool(b, typical)
	input := []byte(`{"line":"42","edits":[{"from":"a"},{"from":1,"to":"d"}],"more":1}`)
	b.ReportAllocs()
	for b.Loop() {
		if tool.Validate(input) == nil {
			b.Fatal("valid")
		}
	}
}

// nested gives a value of as many levels.
func nested(levels int) string {
	return `{"a":` + strings.Repeat("[", levels) + strings.Repeat("]", levels) + `}`
}

// hostile are inputs at or beyond the bounds, with schemas that make the most of
// them. The decision page 0002 has their figures.
func hostile() map[string][2]string {
	list := func(n int, item func(i int) string) string {
		var b strings.Builder
		b.WriteString(`{"a":[`)
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(item(i))
		}
		return b.String() + `]}`
	}
	array := func(rest string) string { return `{"type":"object","properties":{"a":{"type":"array",` + rest + `}}}` }
	key := strings.Repeat("k", 600)
	return map[string][2]string{
		"8 MiB string":          {`{"type":"object","properties":{"a":{"type":"string","pattern":"^(a|b)*c$","maxLength":10}}}`, `{"a":"` + strings.Repeat("a", 8<<20-9) + `"}`},
		"9 MiB":                 {`{"type":"object"}`, `{"a":"` + strings.Repeat("a", 9<<20) + `"}`},
		"5000 levels":           {`{"type":"object"}`, nested(5000)},
		"a million levels":      {`{"type":"object"}`, nested(1_000_000)},
		"99 levels, recursive":  {`{"type":"object","properties":{"a":{"$ref":"#/$defs/l"}},"$defs":{"l":{"anyOf":[{"type":"array","items":{"$ref":"#/$defs/l"}},{"type":"array","minItems":1,"items":{"type":"string"}}]}}}`, nested(99)},
		"two ways a level":      {`{"type":"object","properties":{"kind":{"type":"string"},"a":{"$ref":"#"}},"oneOf":[{"properties":{"kind":{"const":"and"},"a":{"$ref":"#"}}},{"properties":{"kind":{"const":"or"},"a":{"$ref":"#"}}}]}`, strings.Repeat(`{"kind":"x","a":`, 80) + `{}` + strings.Repeat("}", 80)},
		"all items wrong":       {array(`"items":{"type":"string"}`), list(document.MaxValues-2, func(int) string { return "1" })},
		"all items wrong twice": {array(`"items":{"anyOf":[{"type":"string"},{"enum":[true]},{"type":"object"}]}`), list(document.MaxValues-2, func(int) string { return "1" })},
		"unique numbers":        {array(`"uniqueItems":true`), list(document.MaxValues-2, func(i int) string { return fmt.Sprint(i) })},
		"unique exponents":      {array(`"uniqueItems":true`), list(document.MaxValues-2, func(i int) string { return fmt.Sprintf("1.%d1e-400", i) })},
		"multiples":             {array(`"items":{"multipleOf":1e-300}`), list(document.MaxValues-2, func(i int) string { return fmt.Sprintf("1.%d1e400", i) })},
		"unique trees":          {array(`"uniqueItems":true`), list(1<<11, tree)},
		"a million values":      {`{"type":"object"}`, list(1_000_000, func(int) string { return "1" })},
		"long keys":             {array(`"items":{"items":{"type":"string"}}`), `{"a":[{"` + key + `":` + strings.Repeat(`[0,`, 90) + strings.TrimSuffix(strings.Repeat("1,", 40_000), ",") + strings.Repeat("]", 90) + `}]}`},
		"a key of 8 MiB":        {`{"type":"object","additionalProperties":{"items":{"type":"string"}}}`, `{"` + strings.Repeat("k", 8<<20-100) + `":[1,2,3,4,5,6,7,8,9]}`},
		"many properties":       {`{"type":"object","additionalProperties":false,"properties":{"a":{}}}`, `{"a":1` + properties(document.MaxValues-2) + `}`},
		"many names":            {`{"type":"object","propertyNames":{"pattern":"^x"}}`, `{"a":1` + properties(document.MaxValues-2) + `}`},
		"exponent":              {`{"type":"object","properties":{"a":{"minimum":0}}}`, `{"a":1e10000000}`},
		"a number of 8 MB":      {`{"type":"object","properties":{"a":{"minimum":0}}}`, `{"a":` + strings.Repeat("9", 8_000_000) + `}`},
		"long numbers":          {array(`"items":{"type":"integer","multipleOf":7}`), list(8000, func(int) string { return strings.Repeat("9", 1000) })},
	}
}

// tree gives the i-th of 4096 different nestings of 14 lists, which look alike to
// a hash that sees beginnings only.
func tree(i int) string {
	text := "[[]]"
	for range 12 {
		if i&1 == 1 {
			text = "[" + text + "]"
		} else {
			text = text[:len(text)-1] + ",[]]"
		}
		i >>= 1
	}
	return text
}

func properties(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"p%d":1`, i)
	}
	return b.String()
}

func BenchmarkHostile(b *testing.B) {
	for name, c := range hostile() {
		tool := mustTool(b, c[0])
		b.Run(strings.ReplaceAll(name, " ", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = tool.Validate(json.RawMessage(c[1]))
			}
		})
	}
}

package schema

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestPatternsOfECMA: what Go's regular expressions lack is checked all the same, and no
// tool is lost to a pattern.
func TestPatternsOfECMA(t *testing.T) {
	tool := mustTool(t, `{"type":"object","properties":{
		"email":{"type":"string","pattern":"^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_+.-]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9-]*\\.)+[A-Za-z]{2,}$"},
		"node":{"type":"string","pattern":"^(?!undefined$|null$).+$"},
		"unicode":{"pattern":"^\\u00e9[\\w-.]+$"},
		"behind":{"pattern":"(?<=a)b"},
		"broken":{"pattern":"("},
		"pattern":{"type":"string"}},
		"patternProperties":{"^(?!x)y":{"type":"integer"}},"additionalProperties":false,
		"propertyNames":{"pattern":"^(?!_)"},
		"default":{"pattern":"("}}`)
	for input, want := range map[string]string{
		`{"email":"a.b@example.org","node":"12:7","unicode":"é-x.y","behind":"ab","broken":"x","pattern":"("}`: "",
		`{"node":"null"}`:          "- /node: expected a string that matches ^(?!undefined$|null$).+$, found string \"null\"",
		`{"email":"a..b@x.org"}`:   "- /email: expected a string that matches ^(?!",
		`{"unicode":"e"}`:          "- /unicode: expected a string that matches ^\\u00e9[\\w-.]+$",
		`{"behind":"cb"}`:          "- /behind: ",
		`{"_x":1}`:                 "- /_x: expected the property's name to be a string that matches ^(?!_), found string \"_x\"",
		`{"yes":"no","other":"x"}`: "",
		`{"node":5}`:               "- /node: expected string, found integer 5",
	} {
		err := tool.Validate([]byte(input))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", input, err, want)
		}
	}
	all := strings.Join(tool.schema.Warnings(), "\n")
	if len(tool.schema.Warnings()) != 2 || !strings.Contains(all, `the pattern "(" is not checked: `) || !strings.Contains(all, `the properties of the pattern "^(?!x)y" are not checked`) {
		t.Error(all)
	}
}

// TestSlowPattern: a match that takes too long counts as one, however many there are, and
// is told once.
func TestSlowPattern(t *testing.T) {
	var log bytes.Buffer
	tool, err := compiled(`{"type":"object","properties":{"a":{"items":{"pattern":"^(?=a)(a+)+$"}}}}`, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	slow := `"` + strings.Repeat("a", 40) + `!",`
	began := time.Now()
	if err := tool.Validate([]byte(`{"a":[` + strings.Repeat(slow, 500) + `"a"]}`)); err != nil {
		t.Error(err)
	}
	// 250 ms, and what is under way then; the bound leaves room for a machine under load.
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	if strings.Count(log.String(), "level=WARN") != 1 || !strings.Contains(log.String(), "it counts as a match") {
		t.Error(log.String())
	}
	if err := tool.Validate([]byte(`{"a":["b"]}`)); err == nil {
		t.Error("the next input is not checked")
	}
	if err := tool.Validate([]byte(`{"a":["` + strings.Repeat("b", maxMatched+1) + `"]}`)); err != nil {
		t.Errorf("a long string: %v", err)
	}
}

// TestFormats: format is an annotation, of every draft, unless it is asserted.
func TestFormats(t *testing.T) {
	for _, draft := range []string{"", `"$schema":"http://json-schema.org/draft-07/schema#",`} {
		text := `{` + draft + `"type":"object","properties":{"when":{"format":"date-time"},"format":{"type":"string"},"data":{"contentEncoding":"base64","contentMediaType":"application/json"}}}`
		tool := mustTool(t, text)
		if err := tool.Validate([]byte(`{"when":"2026-01-01T10:00:00","format":"x","data":"?"}`)); err != nil {
			t.Errorf("%s: %v", draft, err)
		}
		tool, err := compiled(text, Options{AssertFormats: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := tool.Validate([]byte(`{"when":"2026-01-01T10:00:00"}`)); err == nil || !strings.Contains(err.Error(), "/when: expected the format date-time") {
			t.Errorf("%s: asserted: %v", draft, err)
		}
	}
}

// TestNamesLikeKeywords: a property may be called like a keyword.
func TestNamesLikeKeywords(t *testing.T) {
	for text, inputs := range map[string]map[string]bool{
		`{"type":"object","properties":{"default":{"type":"string","pattern":"^(?!a)b"},"enum":{"format":"date"},"pattern":{"type":"integer"},"format":{"const":"x"}}}`: {
			`{"default":"bc","enum":"?","pattern":1,"format":"x"}`: true, `{"default":"ab"}`: false, `{"pattern":"("}`: false, `{"format":"y"}`: false},
		`{"type":"object","properties":{"patternProperties":{"type":"object","required":["z"]},"additionalProperties":{"type":"string"}}}`: {
			`{"patternProperties":{"z":1},"additionalProperties":"x"}`: true, `{"patternProperties":{}}`: false, `{"additionalProperties":1}`: false},
		`{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","definitions":{"default":{"pattern":"^(?!a)"}},"properties":{"a":{"$ref":"#/definitions/default"}}}`: {
			`{"a":"b"}`: true, `{"a":"a"}`: false},
		`{"type":"object","components":{"schemas":{"x":{"pattern":"^(?!a)"}}},"properties":{"a":{"$ref":"#/components/schemas/x"}}}`: {
			`{"a":"b"}`: true, `{"a":"a"}`: false},
		`{"type":"object","properties":{"a":{"const":{"pattern":"(?!a)","format":"x"}},"b":{"x-toolhand-pattern":"^b$","pattern":"^(?!c)"}}}`: {
			`{"a":{"pattern":"(?!a)","format":"x"}}`: true, `{"a":{}}`: false, `{"b":"x"}`: true, `{"b":"c"}`: false},
	} {
		tool := mustTool(t, text)
		for input, valid := range inputs {
			if err := tool.Validate([]byte(input)); (err == nil) != valid {
				t.Errorf("%s with %s: %v", text, input, err)
			}
		}
	}
}

// TestUncheckedRefusesNothing: what is not checked makes nothing that was good bad, where
// a keyword turns the sense round either.
func TestUncheckedRefusesNothing(t *testing.T) {
	for _, text := range []string{
		`{"type":"object","properties":{"a":{"not":{"pattern":"["}}}}`,
		`{"type":"object","properties":{"a":{"oneOf":[{"pattern":"["},{"pattern":"("}]}}}`,
		`{"type":"object","properties":{"a":{"if":{"pattern":"["},"then":{"const":"b"}}}}`,
		`{"type":"object","properties":{"a":{"allOf":[{"not":{"anyOf":[{"properties":{"x":{"pattern":"["}}}]}}]}}}`,
		`{"type":"object","patternProperties":{"^(?!x-)[a-z]+$":{"type":"string"}},"unevaluatedProperties":false}`,
		`{"type":"object","patternProperties":{"^(?!x-)[a-z]+$":{"type":"string"},"^b":{"type":"integer"}},"additionalProperties":{"type":"integer"},"properties":{"c":{"$ref":"#/additionalProperties"}}}`,
	} {
		tool := mustTool(t, text)
		if err := tool.Validate([]byte(`{"a":"v"}`)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if len(tool.schema.Warnings()) == 0 {
			t.Errorf("%s: no warning", text)
		}
	}
}

package schema

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"toolhand/internal/testkit"
)

// doubling is a schema in which each level asks for the next one twice, by join.
func doubling(levels int, join, last string) string {
	var b strings.Builder
	b.WriteString(`{"type":"object","$defs":{`)
	for i := range levels {
		fmt.Fprintf(&b, `"l%d":%s,`, i, strings.ReplaceAll(join, "@", fmt.Sprintf(`{"$ref":"#/$defs/l%d"}`, i+1)))
	}
	fmt.Fprintf(&b, `"l%d":%s},"allOf":[{"$ref":"#/$defs/l0"}]}`, levels, last)
	return b.String()
}

// multiplying are schemas of a few kilobytes that ask for far more work than
// there is time, each by other keywords, with an input that makes them.
func multiplying() map[string][2]string {
	const last = `{"type":"object","properties":{"a":{"type":"string"}}}`
	const small = `{"a":"x"}`
	wide := func(n int, part string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(part+",", n), ",") + "]"
	}
	list := func(n int, item string) string { return `{"a":` + wide(n, item) + `}` }
	items := func(part string) string { return `{"type":"object","properties":{"a":{"items":` + part + `}}}` }
	long := strings.Repeat("p", 2000)
	return map[string][2]string{
		"allOf":            {doubling(24, `{"allOf":[@,@]}`, last), small},
		"anyOf":            {doubling(24, `{"anyOf":[@,@]}`, last), small},
		"anyOf, wrong":     {doubling(24, `{"anyOf":[@,@]}`, `{"required":["b"]}`), small},
		"anyOf, type":      {doubling(24, `{"anyOf":[@,@]}`, `{"type":"string"}`), small},
		"anyOf, false":     {doubling(24, `{"anyOf":[@,@]}`, `false`), small},
		"oneOf, wrong":     {doubling(24, `{"oneOf":[@,@]}`, `{"required":["b"]}`), small},
		"not":              {doubling(24, `{"allOf":[{"not":@},{"not":@}]}`, last), small},
		"if":               {doubling(24, `{"if":@,"then":@,"else":@}`, last), small},
		"dependentSchemas": {doubling(24, `{"dependentSchemas":{"a":@},"$ref":"#/$defs/x","allOf":[@]}`, last+`,"x":{}`), small},
		"draft 7":          {strings.Replace(doubling(24, `{"allOf":[@,@],"dependencies":{"a":@}}`, last), `{`, `{"$schema":"http://json-schema.org/draft-07/schema#",`, 1), small},
		"properties": {doubling(40, `{"allOf":[{"properties":{"a":@}},{"properties":{"a":@}}]}`, `{}`),
			strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40)},
		"additionalProperties": {doubling(40, `{"allOf":[{"additionalProperties":@},{"patternProperties":{"a":@}}]}`, `{}`),
			strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40)},
		"unevaluatedProperties": {doubling(40, `{"allOf":[{"unevaluatedProperties":@},{"unevaluatedProperties":@}]}`, `{}`),
			strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40)},
		"items": {doubling(40, `{"allOf":[{"items":@},{"prefixItems":[@]},{"contains":@},{"unevaluatedItems":@}],"properties":{"a":@}}`, `{}`),
			`{"a":` + strings.Repeat(`[`, 40) + strings.Repeat(`]`, 40) + `}`},
		"dynamicRef": {`{"type":"object","$dynamicAnchor":"n","properties":{"a":{"$dynamicRef":"#n"}},"allOf":[{"properties":{"a":{"$dynamicRef":"#n"}}},{"properties":{"a":{"$dynamicRef":"#n"}}}]}`,
			strings.Repeat(`{"a":`, 90) + `{}` + strings.Repeat(`}`, 90)},
		"dynamicRef to a part that nothing else names": {`{"type":"object","$id":"http://a/root","$ref":"http://a/other","$defs":{"mine":{"$dynamicAnchor":"n","properties":{"a":{"$dynamicRef":"http://a/other#n"}},"allOf":[{"properties":{"a":{"$dynamicRef":"http://a/other#n"}}}]},"other":{"$id":"http://a/other","$dynamicRef":"#n","$defs":{"n":{"$dynamicAnchor":"n"}}}}}`,
			strings.Repeat(`{"a":`, 90) + `{}` + strings.Repeat(`}`, 90)},
		"recursiveRef": {`{"$schema":"https://json-schema.org/draft/2019-09/schema","type":"object","$recursiveAnchor":true,"allOf":[{"properties":{"a":{"$recursiveRef":"#"}}},{"properties":{"a":{"$recursiveRef":"#"}}}]}`,
			strings.Repeat(`{"a":`, 90) + `{}` + strings.Repeat(`}`, 90)},
		"width times items":          {items(`{"anyOf":` + wide(1000, `{"type":"string"}`) + `}`), list(40_000, `1`)},
		"width times one list":       {`{"type":"object","properties":{"a":{"anyOf":` + wide(5000, `{"type":"string"}`) + `}}}`, list(40_000, `1`)},
		"enum times items":           {items(`{"enum":` + wide(5000, `12345`) + `}`), list(40_000, `1`)},
		"text of enum times items":   {items(`{"enum":["` + strings.Repeat("x", 900_000) + `"]}`), list(40_000, `1`)},
		"required times items":       {items(`{"required":[` + names(5000) + `]}`), list(40_000, `{}`)},
		"patterns times names":       {`{"type":"object","patternProperties":{` + patterns(2000) + `}}`, `{"a":1` + properties(40_000) + `}`},
		"a pattern times a string":   {`{"type":"object","properties":{"a":{"pattern":"(x|y?){900}z"}}}`, `{"a":"` + strings.Repeat("x", 8<<20-10) + `"}`},
		"long locations":             {doubling(24, `{"properties":{"`+long+`":@},"allOf":[@,@]}`, `{"required":["b"]}`), small},
		"long pointers":              {doubling(12, `{"allOf":[@,@]}`, `{"additionalProperties":{"items":{"type":"string"}}}`), `{"` + strings.Repeat("k", 1<<20) + `":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]}`},
		"a long chain":               {doubling(1000, `{"allOf":[@]}`, `{"items":{"type":"string"},"required":["b"]}`), small},
		"uniqueItems at each level":  {doubling(20, `{"allOf":[@,@]}`, `{"properties":{"a":{"uniqueItems":true}}}`), list(2000, `1`)},
		"the draft's own schema":     {doubling(24, `{"allOf":[@,@]}`, `{"$ref":"https://json-schema.org/draft/2020-12/schema"}`), `{"properties":{"a":{"properties":{"a":{"type":"string"}}}}}`},
		"a large value as a schema":  {`{"type":"object","$ref":"https://json-schema.org/draft/2020-12/schema"}`, `{"allOf":` + wide(40_000, `{}`) + `}`},
		"strings as patterns":        {items(`{"format":"regex"}`), list(2000, `"`+strings.Repeat("a{900}", 500)+`"`)},
		"long numbers, many schemas": {items(`{"allOf":` + wide(1000, `{"multipleOf":7}`) + `}`), list(4000, strings.Repeat("9", 1000))},
	}
}

func names(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"n%d"`, i)
	}
	return b.String()[1:]
}

func patterns(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"^q%d":true`, i)
	}
	return b.String()[1:]
}

// No schema takes more than a bounded time, whatever it asks for; a small input
// is answered at once.
func TestWorkOfASchemaIsBounded(t *testing.T) {
	for name, c := range testkit.Some(multiplying(), 8) {
		t.Run(name, func(t *testing.T) {
			// What it costs, and not how long it waits for others' turns on this machine.
			began := cpuTime(t)
			tool := mustTool(t, c[0])
			compiled := cpuTime(t) - began
			began = cpuTime(t)
			err := tool.Validate(json.RawMessage(c[1]))
			took := cpuTime(t) - began
			t.Logf("compiled in %v, checked in %v: %.200v", compiled, took, err)
			var invalid *InvalidError
			if err != nil && !errors.As(err, &invalid) || invalid != nil && invalid.Panic != nil {
				t.Errorf("not an answer: %v", err)
			}
			// The worst takes 1.4 s, and eight times that under the race detector; without the
			// bounds some take hours.
			if took > 30*time.Second || compiled > 30*time.Second {
				t.Errorf("compiled in %v, checked in %v", compiled, took)
			}
		})
	}
}

// cpuTime is what this process has used of the CPUs.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		t.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// A schema of 2 KB that doubles the work at each level once took a core for ever.
func TestDoublingSchemaIsAnsweredAtOnce(t *testing.T) {
	tool := mustTool(t, doubling(24, `{"allOf":[@,@]}`, `{"type":"object","properties":{"a":{"type":"string"}}}`))
	best := time.Hour
	for range 10 { // the machine may be busy
		began := time.Now()
		if err := tool.Validate(json.RawMessage(`{"a":"x"}`)); err == nil || !strings.Contains(err.Error(), "takes too long") {
			t.Fatalf("got %v", err)
		}
		best = min(best, time.Since(began))
	}
	if best > 100*time.Millisecond {
		t.Errorf("took %v", best)
	}
}

// What people write is far below the bounds, with large inputs too.
func TestWorkOfUsualSchemas(t *testing.T) {
	item := `{"type":"object","required":["id","kind"],"properties":{"id":{"type":"string","pattern":"^[a-z0-9-]{1,64}$"},"kind":{"enum":["a","b","c","d","e","f","g","h"]},"n":{"type":["integer","null"],"minimum":0},"tags":{"type":"array","items":{"type":"string","maxLength":50}}},"additionalProperties":false}`
	alternatives := strings.TrimSuffix(strings.Repeat(item+",", 12), ",")
	tree := `{"type":"object","$defs":{"e":{"oneOf":[{"type":"object","properties":{"op":{"enum":["and","or"]},"of":{"type":"array","items":{"$ref":"#/$defs/e"}}},"required":["op","of"]},{"type":"object","properties":{"op":{"const":"not"},"arg":{"$ref":"#/$defs/e"}},"required":["op","arg"]},{"type":"object","properties":{"op":{"const":"eq"},"field":{"type":"string"},"value":{}},"required":["op","field","value"]}]}},"properties":{"where":{"$ref":"#/$defs/e"}}}`
	one := `{"id":"abc-1","kind":"h","n":3,"tags":["x","y"]}`
	list := func(n int) string { return `{"a":[` + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + `]}` }
	expression := `{"op":"eq","field":"a","value":1}`
	for range 12 {
		expression = `{"op":"and","of":[{"op":"eq","field":"b","value":"x"},{"op":"not","arg":` + expression + `}]}`
	}
	for name, c := range map[string][2]string{
		"7,000 items":      {`{"type":"object","properties":{"a":{"type":"array","items":` + item + `}}}`, list(7000)},
		"12 alternatives":  {`{"type":"object","properties":{"a":{"type":"array","items":{"anyOf":[` + alternatives + `]}}}}`, list(200)},
		"a tree":           {tree, `{"where":` + expression + `}`},
		"a string of 4 MB": {`{"type":"object","properties":{"a":{"type":"string","minLength":1,"pattern":"^[^<>]*$"},"b":{"pattern":"^x+$"}}}`, `{"a":"` + strings.Repeat("x", 4<<20) + `"}`},
	} {
		if err := mustTool(t, c[0]).Validate(json.RawMessage(c[1])); err != nil {
			t.Errorf("%s: %.300v", name, err)
		}
	}
}

// What can't be compiled in a bounded time or memory is an error of the schema.
func TestSchemasTooLargeToCompile(t *testing.T) {
	var anchors strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&anchors, `,"d%d":{"$anchor":"a%d","$ref":"#a%d"}`, i, i, (i+1)%3000)
	}
	for name, text := range map[string]string{
		"parts":       `{"type":"object","properties":{"a":{}` + strings.ReplaceAll(properties(9000), ":1", ":{}") + `}}`,
		"anchors":     `{"type":"object","$defs":{` + anchors.String()[1:] + `}}`,
		"repetitions": `{"type":"object","properties":{"a":{"pattern":"` + strings.Repeat("x{1000}", 300) + `"}}}`,
		"names":       `{"type":"object","patternProperties":{"` + strings.Repeat("x{1000}", 300) + `":true}}`,
	} {
		began := time.Now()
		_, err := compiled(text, Options{})
		if err == nil || !strings.Contains(err.Error(), "expected fewer parts") && !strings.Contains(err.Error(), "expected patterns of at most") {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
}

// A schema that gives itself a URL of the drafts was once taken for one of them, so
// that its work was not bounded.
func TestSchemaWithAnIDOfTheDrafts(t *testing.T) {
	for _, id := range []string{
		`"$id":"https://json-schema.org/anything"`, `"$id":"http://json-schema.org/draft-07/schema#"`,
		`"$id":"https://json-schema.org/draft/2020-12/schema"`, `"$id":"//JSON-Schema.org:443/x"`,
		`"$schema":"http://json-schema.org/draft-04/schema#","id":"http://json-schema.org/x"`,
	} {
		for _, text := range []string{`{"type":"object",` + id + `}`, `{"type":"object","properties":{"a":{"allOf":[{` + id + `}]}}}`} {
			_, err := compiled(text, Options{})
			if err == nil || !strings.Contains(err.Error(), "to be a URL of your own") {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
	for _, text := range []string{
		`{"type":"object","$id":"https://example.com/json-schema.org/x","properties":{"$id":{},"id":{"const":{"$id":"https://json-schema.org/x"}}}}`,
		`{"type":"object","$schema":"http://json-schema.org/draft-07/schema#","default":{"id":"https://json-schema.org/x"}}`,
	} {
		if _, err := compiled(text, Options{}); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// All that leads to a draft's own schema is found, however it is written; parts of
// them that the compiler makes anew are counted like any other.
func TestReferencesToDraftsAreCounted(t *testing.T) {
	large := json.RawMessage(`{"a":{"allOf":[` + strings.TrimSuffix(strings.Repeat(`{},`, 3000), ",") + `]}}`)
	for _, text := range []string{
		`{"type":"object","properties":{"a":{"$ref":"https://json-schema.org/draft/2020-12/schema"}}}`,
		`{"type":"object","$id":"https://a/b","properties":{"a":{"$ref":"//json-schema.org/draft/2020-12/schema"}}}`,
		`{"type":"object","$schema":"http://json-schema.org/draft-07/schema#","properties":{"a":{"$ref":"http://json-schema.org/draft-07/schema#"}}}`,
		`{"type":"object","$schema":"http://json-schema.org/draft-04/schema#","properties":{"a":{"$ref":"http://json-schema.org/draft-04/schema#"}}}`,
	} {
		tool := mustTool(t, text)
		if err := tool.Validate(large); err == nil || !strings.Contains(err.Error(), "takes too long") {
			t.Errorf("%s: %.200v", text, err)
		}
		if err := tool.Validate(json.RawMessage(`{"a":{"type":"string"}}`)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if tool.Validate(json.RawMessage(`{"a":{"type":"nothing"}}`)) == nil {
			t.Errorf("%s: a wrong schema was accepted", text)
		}
	}
	part := `{"type":"object","allOf":[{"$ref":"https://json-schema.org/draft/2020-12/meta/core"}]}`
	tool := mustTool(t, part)
	for location := range tool.schema.byLocation {
		if strings.HasPrefix(location, "https://json-schema.org/draft/2020-12/meta/core") {
			return
		}
	}
	t.Error("meta/core was not walked")
}

// heavyTool is a tool with an input whose check takes some seconds.
func heavyTool(t *testing.T) (*tested, json.RawMessage) {
	t.Helper()
	tool := mustTool(t, `{"type":"object","properties":{"a":{"items":{"anyOf":[`+strings.Repeat(`{"type":"string"},`, 30)+`{"type":"number"}]}}}}`)
	return tool, json.RawMessage(`{"a":[` + strings.TrimSuffix(strings.Repeat(`1,`, 40_000), ",") + `]}`)
}

// A check ends with its context, whether it waits for its turn or is at work.
func TestCheckEndsWithItsContext(t *testing.T) {
	cause := errors.New("over")
	tool, input := heavyTool(t)
	over := func(after time.Duration) error {
		ctx, cancel := context.WithTimeoutCause(t.Context(), after, cause)
		defer cancel()
		began := time.Now()
		err := tool.ValidateContext(ctx, input)
		if took := time.Since(began); took > after+5*time.Second {
			t.Errorf("ended after %v, not %v", took, after)
		}
		return err
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for len(heavy) == 0 || len(tool.schema.work.turn) == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel(cause)
	}()
	if err := tool.ValidateContext(ctx, input); !errors.Is(err, cause) {
		t.Errorf("at work: %v", err)
	}
	heavy <- struct{}{}
	if err := over(300 * time.Millisecond); !errors.Is(err, cause) {
		t.Errorf("waiting for the large inputs: %v", err)
	}
	<-heavy
	tool.schema.work.turn <- struct{}{}
	if err := over(300 * time.Millisecond); !errors.Is(err, cause) {
		t.Errorf("waiting for the schema: %v", err)
	}
	tool.schema.work.end()
	if err := tool.Validate(json.RawMessage(`{"a":["x"]}`)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A check takes slices: others of its schema get their turn in between, and neither
// count spoils the other.
func TestChecksOfASchemaTakeTurns(t *testing.T) {
	w := newWork()
	w.begin(t.Context(), inputCost{}, 1<<40)
	other := make(chan count)
	go func() {
		w.begin(t.Context(), inputCost{}, 7)
		own := w.count
		w.end()
		other <- own
	}()
	for done := false; !done; {
		select {
		case own := <-other:
			done = own.left == 7
		default:
			left := w.count.left
			w.count.slice = 0
			w.spend(1)
			if w.count.left != left-1 || w.count.slice != sliceWork {
				t.Fatalf("got %+v back, had %d left", w.count, left)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.count.ctx, w.count.slice = ctx, 0
	cancel()
	defer func() {
		if _, ok := recover().(checkOver); !ok {
			t.Error("went on after its end")
		}
		w.end()
	}()
	w.spend(1)
}

package schema

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"toolhand/internal/document"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v5"

	"toolhand/internal/testkit"
)

// TestViolations holds the texts that an agent is told. Each archive has a
// schema, and pairs of files N.json and N.want; an empty want is a valid input.
func TestViolations(t *testing.T) {
	paths, err := filepath.Glob("testdata/violations/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			tool, err := compiled(string(archive.Files[0].Data), Options{AssertFormats: true})
			if err != nil {
				t.Fatal(err)
			}
			for i := 1; i+1 < len(archive.Files); i += 2 {
				input, want := archive.Files[i], &archive.Files[i+1]
				got := ""
				// The order is that of the pointers, not that of maps.
				for range 5 {
					got = ""
					if err := tool.Validate(input.Data); err != nil {
						got = err.Error() + "\n"
					}
					if *update {
						want.Data = []byte(got)
					}
					if got != string(want.Data) {
						t.Fatalf("%s: got\n%swant\n%s", input.Name, got, want.Data)
					}
				}
				checkAnswer(t, got)
			}
			if *update {
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// checkAnswer checks what holds of every answer.
func checkAnswer(t *testing.T, text string) {
	t.Helper()
	if text == "" {
		return
	}
	list := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if list[0] != `Invalid input for tool "x":` || len(list) < 2 || len(list) > 1+maxLines || !utf8.ValidString(text) {
		t.Errorf("not an answer: %q", text)
	}
	for _, line := range list[1:] {
		if len(line) > 1000 || !strings.HasPrefix(line, "- ") && !strings.HasPrefix(line, moreLines) {
			t.Errorf("not a line: %q", line)
		}
	}
}

// A hostile input is answered in bounded time: the worst took 0.4 s; the bound
// leaves room for a machine under load and the race detector. Without the bounds
// of document.ParseJSON and work.go some of these take hours, or all of the memory.
func TestHostileInputs(t *testing.T) {
	for name, c := range testkit.Some(hostile(), 8) {
		t.Run(name, func(t *testing.T) {
			tool := mustTool(t, c[0])
			began := time.Now()
			err := tool.Validate(json.RawMessage(c[1]))
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("took %v", took)
			}
			var invalid *InvalidError
			switch {
			case err == nil:
				for _, refused := range []string{"9 MiB", "levels", "million", "wrong", "exponent of", "two ways", "a number of"} {
					if strings.Contains(name, refused) && name != "99 levels, recursive" {
						t.Error("was not refused")
					}
				}
			case !errors.As(err, &invalid):
				t.Errorf("not an *InvalidError: %v", err)
			default:
				if invalid.Panic != nil {
					t.Errorf("the validator panicked: %v\n%s", invalid.Panic, invalid.Stack)
				}
				checkAnswer(t, invalid.Text())
			}
		})
	}
}

func TestBoundsOfInputs(t *testing.T) {
	tool := mustTool(t, `{"type":"object"}`)
	for _, tc := range []struct{ input, want string }{
		{nested(document.MaxDepth - 1), ""},
		{nested(document.MaxDepth), "expected at most 100 levels of nesting, found more"},
		{`{"a":1e400,"b":-1.5E-400}`, ""},
		{`{"a":[{"b/~":1e401}]}`, "- /a/0/b~1~0: expected a number whose exponent is between -400 and 400, found 1e401"},
		{`{"a":1e99999999999999999999}`, "whose exponent"},
		{`{"a":` + strings.Repeat("1", 1024) + `}`, ""},
		{`{"a":` + strings.Repeat("1", 1025) + `}`, "- /a: expected a number of at most 1024 characters, found 111"},
		{`{"a":{"k":1,"\u006b":2}}`, `- /a: expected each key once, found "k" twice`},
		{`{"a":9007199254740993}`, ""},
	} {
		err := tool.Validate([]byte(tc.input))
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%.40s: %v, want %q", tc.input, err, tc.want)
		}
	}
	exact := mustTool(t, `{"type":"object","properties":{"n":{"const":9007199254740993}}}`)
	if exact.Validate([]byte(`{"n":9007199254740993}`)) != nil || exact.Validate([]byte(`{"n":9007199254740992}`)) == nil {
		t.Error("integers above 2^53 are not told apart")
	}
}

// failing panics in the middle of a validation.
type failing struct{}

func (failing) Validate(jsonschema.ValidationContext, any) error { panic("boom") }

func TestPanicOfTheValidator(t *testing.T) {
	tool := mustTool(t, `{"type":"object","properties":{"a":{"$ref":"#"}}}`)
	tool.schema.compiled.Extensions["failing"] = failing{}
	err := tool.Validate([]byte(`{}`))
	var invalid *InvalidError
	if !errors.As(err, &invalid) || invalid.Panic != "boom" || !strings.Contains(string(invalid.Stack), "failing") || strings.Contains(invalid.Text(), "boom") {
		t.Fatalf("%v", err)
	}
	delete(tool.schema.compiled.Extensions, "failing")
	if err := tool.Validate([]byte(`{"a":{}}`)); err != nil {
		t.Errorf("after a panic: %v", err)
	}
}

func TestUniqueItems(t *testing.T) {
	tool := mustTool(t, `{"type":"object","properties":{"a":{"uniqueItems":true}}}`)
	for input, ok := range map[string]bool{
		`[1,2,"1",true,"true",null,"null",[],{},[[]],[{}]]`: true, `[1,1.0]`: false, `[10e-1,1]`: false, `[0,-0]`: false, `[{"a":1,"b":2},{"b":2,"a":1}]`: false,
		`[{"a":1},{"a":2}]`: true, `["a","\u0061"]`: false, `[[1,2],[[1],2]]`: true, `["a\",\"b",["a","b"]]`: true, `"x"`: true, `[1,-1]`: true,
	} {
		if err := tool.Validate([]byte(`{"a":` + input + `}`)); (err == nil) != ok {
			t.Errorf("%s: %v", input, err)
		}
	}
	seen := make(map[string]bool)
	for i := range 1 << 12 {
		seen[tree(i)] = true
	}
	if len(seen) != 1<<12 {
		t.Errorf("only %d trees differ", len(seen))
	}
}

// Calls of one tool validate at once, with a recursive schema too.
func TestValidateConcurrently(t *testing.T) {
	tool := mustTool(t, `{"type":"object","properties":{"l":{"type":"array","uniqueItems":true,"items":{"$ref":"#"}},"n":{"type":"integer"}}}`)
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			for range 100 {
				if tool.Validate([]byte(`{"l":[{"n":1},{"l":[{"n":2}]}]}`)) != nil || tool.Validate([]byte(`{"l":[{"n":"1"}]}`)) == nil {
					t.Error("a wrong answer")
				}
			}
		})
	}
	calls.Wait()
}

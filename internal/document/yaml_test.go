package document

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// read is a YAML text as JSON, or what is wrong with it.
func read(t *testing.T, text string) string {
	t.Helper()
	ps := &Problems{File: "f"}
	n := ParseYAML(ps, []byte(text))
	if err := ps.Err(); err != nil {
		return err.Error()
	}
	if n == nil {
		return ""
	}
	return string(n.JSON())
}

// TestYAMLAsFound has what people write and what it means by YAML 1.2.
func TestYAMLAsFound(t *testing.T) {
	for text, want := range map[string]string{
		"a: [12:30, status:open]\nb: { x: [-p, 8080:80], u: http://h/p }\n": `{"a":["12:30","status:open"],"b":{"x":["-p","8080:80"],"u":"http://h/p"}}`,
		"a: \"one\r\n  two\"\r\nb: 'x\r\n\r\n  y'\r\nc: d\r\n":              `{"a":"one two","b":"x\ny","c":"d"}`,
		"a: |\r\n  x\r\n  y\r\n":                    `{"a":"x\ny\n"}`,
		"a: |\n  \tx: 1\n  y\n":                     `{"a":"\tx: 1\ny\n"}`,
		"a: >-\n  x\n  y\n\n  z\n":                  `{"a":"x y\nz"}`,
		"%YAML 1.2\n---\na: 1\n":                    `{"a":1}`,
		"%YAML 1.1\n---\na: 1\n...\n":               `{"a":1}`,
		"\uFEFFa: 1\n":                              `{"a":1}`,
		"\uFEFF%YAML 1.2\n---\na: 1\n":              `{"a":1}`,
		"# only\n":                                  "",
		"---\n...\n":                                "",
		"a: &x [1]\nb: *x\n":                        `{"a":[1],"b":[1]}`,
		"? a\n: 1\n":                                `{"a":1}`,
		"1: a\ntrue: b\n":                           `{"1":"a","true":"b"}`,
		"{\"a\": \"x\\ty\",\t\"b\": [1,2,]}\n":      `{"a":"x\ty","b":[1,2]}`,
		"a: no\nb: on\nc: 0o17\nd: 2026-01-01\n":    `{"a":"no","b":"on","c":15,"d":"2026-01-01"}`,
		"a: &a [*a]\n":                              "f:1:8: the alias *a stands within its own anchor",
		"a: 1\nb: {c: 2, c: 3}\n":                   `f:2:11: b: expected each key once, found "c" twice, first in line 2`,
		"a: 1\n---\nb: 2\n":                         "f:2:1: a second YAML document begins here: expected one a file",
		"a: !!binary aGk=\n":                        "f:1:4: the tag !!binary is not known: expected plain YAML, or !!str",
		"<<: {a: 1}\n":                              "f:1:1: the merge key << is not taken: write the keys out, or use $ref and $defs in a schema",
		"a:\n\tb: 1\n":                              "f:2:1: expected valid YAML: found character that cannot start any token while scanning for the next token",
		"a: \xff\n":                                 "f:1:4: the text is not valid UTF-8",
		"a: 1e401\n":                                "f:1:4: a: expected a number whose exponent is between -400 and 400, found 1e401",
		"? [a]\n: 1\n":                              "f:1:3: expected a key that is text",
		"a: .inf\nb: 007\n":                         "f:1:4: expected a number as JSON writes it, without leading zeros, found .inf: quote it if it is text\nf:2:4: expected a number as JSON writes it, without leading zeros, found 007: quote it if it is text",
		strings.Repeat("- ", 101) + "x\n":           "f:1:201: expected at most 100 levels of nesting, found more",
		"[" + strings.Repeat("x,", MaxValues) + "]": "f:1:100000: expected at most 50000 values in all, found more",
	} {
		if got := read(t, text); got != want {
			t.Errorf("%.60q: got\n%.300s\nwant\n%s", text, got, want)
		}
	}
}

// TestLongTexts: no text of the largest size takes long, whatever is in it. The worst
// took a second; the bound leaves room for a machine under load and the race detector.
func TestLongTexts(t *testing.T) {
	for name, text := range longTexts() {
		began := time.Now()
		ps := &Problems{}
		ParseYAML(ps, []byte(text[:min(len(text), MaxFile)]))
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
}

func longTexts() map[string]string {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		p := "*" + string(c-1)
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat(p+",", 8) + p + "]\n"
	}
	return map[string]string{
		"brackets":     strings.Repeat("[", MaxFile),
		"braces":       strings.Repeat("{a: ", MaxFile/4),
		"dashes":       strings.Repeat("- ", MaxFile/2),
		"questions":    strings.Repeat("? ", MaxFile/2),
		"flow mapping": "{" + strings.Repeat("kkkkk: v,", MaxFile/10) + "}",
		"flow list":    "[" + strings.Repeat("a,", MaxFile/2-1) + "]",
		"mapping":      strings.Repeat("kkkkk: v\n", MaxFile/9),
		"anchors":      strings.Repeat("- &a b\n", MaxFile/7),
		"comments":     strings.Repeat("- a # c\n# d\n", MaxFile/12),
		"quoted":       "[" + strings.Repeat(`"a" `, MaxFile/4),
		"plain":        "a: " + strings.Repeat("x ", MaxFile/2),
		"alias bomb":   bomb,
		"long aliases": "a: &a " + strings.Repeat("x", 20_000) + "\nb: [" + strings.Repeat("*a,", 5000) + "]\n",
		"long key":     "? " + strings.Repeat("k", MaxFile/2) + "\n: [" + strings.Repeat("0,", MaxFile/4-10) + "]\n",
	}
}

func BenchmarkLongTexts(b *testing.B) {
	for name, text := range longTexts() {
		b.Run(strings.ReplaceAll(name, " ", "_"), func(b *testing.B) {
			for b.Loop() {
				ParseYAML(&Problems{}, []byte(text[:min(len(text), MaxFile)]))
			}
		})
	}
}

// FuzzParse: any text gives a value that can be written as JSON, nothing, or problems with
// a place in it.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"a: [12:30]\n", "{\"a\": 1e5}", "a: &a [*a]\n", "- |\n x\n", "%YAML 1.2\n---\n'", "1: .5\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// A parser that hangs would only make the fuzzer slow.
		watchdog := time.AfterFunc(10*time.Second, func() { panic(fmt.Sprintf("still parsing %q", data)) })
		defer watchdog.Stop()
		for _, name := range []string{"f.yaml", "f.json"} {
			ps := &Problems{File: name}
			n := Parse(ps, name, data)
			if n == nil && name == "f.json" && len(ps.List) == 0 {
				t.Error("nothing, and no problem")
			}
			for _, p := range ps.List {
				if p.Line < 1 || p.Column < 1 || p.Text == "" {
					t.Errorf("no place: %+v", p)
				}
			}
			if n != nil && len(ps.List) == 0 {
				again := &Problems{}
				if other := ParseJSON(again, n.JSON()); other == nil || string(other.JSON()) != string(n.JSON()) {
					t.Errorf("%s is not read again: %v", n.JSON(), again.List)
				}
			}
		}
	})
}

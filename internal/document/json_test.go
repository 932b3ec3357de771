package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestJSON: values, places, and what is wrong.
func TestJSON(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "f:1:1: expected more JSON, found the end of the text",
		" \n[1,\n":                   "f:3:1: expected more JSON, found the end of the text",
		"{\n \"a\": x}":              "f:2:7: expected valid JSON, found invalid character 'x' looking for beginning of value",
		"{} x":                       "f:1:4: expected one JSON value, found more text behind it",
		"{\"a\": \"\xff\"}":          "f:1:8: the text is not valid UTF-8",
		"{\"a\":1,\n \"\\u0061\":2}": `f:2:2: expected each key once, found "a" twice, first in line 1`,
		"{\"a\":[1e401]}":            "f:1:7: a[0]: expected a number whose exponent is between -400 and 400, found 1e401",
		strings.Repeat("[", 20000) + strings.Repeat("]", 20000): "f:1:10001: expected at most 100 levels of nesting, found more",
		strings.Repeat("[", 101) + strings.Repeat("]", 101):     "f:1:1: expected at most 100 levels of nesting, found more",
	} {
		ps := &Problems{File: "f"}
		ParseJSON(ps, []byte(text))
		if err := ps.Err(); err == nil || err.Error() != want {
			t.Errorf("%.40q: got %v, want %s", text, err, want)
		}
	}
	ps := &Problems{}
	n := ParseJSON(ps, []byte("\uFEFF { \"é\" : [ null ,\n\t\"a\\u00e9\\n\" , -1.50 ] , \"b\":{ } }"))
	if ps.Err() != nil {
		t.Fatal(ps.Err())
	}
	list := n.Get("é")
	if got := fmt.Sprint(n.Line, n.Column, " ", n.Keys[0].Column, list.Column, list.Items[0].Column, " ", list.Items[1].Line, list.Items[1].Column, list.Items[2].Column, " ", n.Key("b").Column, n.Get("b").Column); got != "1 2 4 10 12 2 2 16 26 30" {
		t.Error(got)
	}
	if list.Items[1].Text != "aé\n" || list.Items[2].Text != "-1.50" || string(n.JSON()) != `{"é":[null,"aé\n",-1.50],"b":{}}` {
		t.Errorf("%s", n.JSON())
	}
}

// FuzzJSON: what encoding/json takes has the same value here, and what it refuses is
// refused.
func FuzzJSON(f *testing.F) {
	for _, text := range []string{`{"a":[1,2.5e3,"\ud83d\ude00\ud800",null,true]}`, ` "x" `, `{"a":{"b":{}}}`, `[1,]`, "\"\x7f\""} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ps := &Problems{}
		n := ParseJSON(ps, data)
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		var want any
		err := dec.Decode(&want)
		if !json.Valid(data) {
			err = fmt.Errorf("more text")
		}
		switch {
		case n == nil && len(ps.List) == 0:
			t.Error("nothing, and no problem")
		case n != nil && len(ps.List) == 0 && err != nil && !bytes.HasPrefix(data, []byte("\uFEFF")):
			t.Errorf("%q was taken: %v", data, err)
		case n != nil && len(ps.List) == 0 && err == nil && !reflect.DeepEqual(n.Value(), want):
			t.Errorf("%q is %#v, want %#v", data, n.Value(), want)
		}
	})
}

// TestLongKey: what stands below a long key costs no more than elsewhere. It once took a
// minute for this text; the bound leaves room for a machine under load.
func TestLongKey(t *testing.T) {
	text := `{"` + strings.Repeat("k", 6<<20) + `":[` + strings.Repeat("0,", 40_000) + `0]}`
	began := time.Now()
	ps := &Problems{}
	if n := ParseJSON(ps, []byte(text)); n == nil || ps.Err() != nil {
		t.Fatal(ps.Err())
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	ParseJSON(ps, []byte(strings.Replace(text, "[0", "[1e999", 1)))
	if len(ps.List) != 1 || len(ps.List[0].Pointer) > 2*maxToken || len(ps.List[0].String()) > 1000 {
		t.Errorf("%.2000s", ps.Err())
	}
}

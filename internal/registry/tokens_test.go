package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"
)

// sameTokens compares what validTokens cuts with what a json.Decoder does.
func sameTokens(t *testing.T, text []byte) {
	t.Helper()
	want := json.NewDecoder(bytes.NewReader(text))
	want.UseNumber()
	got := &validTokens{text: text}
	for n := 0; ; n++ {
		if g, w := got.More(), want.More(); g != w {
			t.Fatalf("%q, token %d: More is %t, want %t", text, n, g, w)
		}
		g, gErr := got.Token()
		w, wErr := want.Token()
		if g != w || !errors.Is(gErr, wErr) {
			t.Fatalf("%q, token %d: %#v, %v; want %#v, %v", text, n, g, gErr, w, wErr)
		}
		if gErr != nil {
			if !errors.Is(gErr, io.EOF) {
				t.Fatalf("%q: %v", text, gErr)
			}
			return
		}
		if got.InputOffset() != want.InputOffset() {
			t.Fatalf("%q, token %d: at byte %d, want %d", text, n, got.InputOffset(), want.InputOffset())
		}
	}
}

var validTexts = []string{
	`{}`, `[]`, ` [ ] `, `"x"`, `1`, `null`, ` true `, "\t{ \r\n\"a\" : [1 , 2,{\"b\":null}] , \"c\":false}\n",
	`{"a":-1.50e+10,"b":0,"c":1E400,"d":12345678901234567890123}`,
	`{"":"","a":"\"","b":"\\","c":"\\\"","d":"\n\t\/","e":"\u00e9\ud83d\ude00","f":"\ud800","g":"\udc00x"}`,
	`{"é":"日本","[":"]","{":"}",",":":"," ":" "}`,
	"{\"a\":\"\xff\xfe\",\"\xc3\":1,\"b\":\"\xed\xa0\x80\"}",
	`[[[[[[]]]],[{}]],"a,b:c",[true,false,null,1]]`,
}

func TestValidTokens(t *testing.T) {
	for _, text := range validTexts {
		if !json.Valid([]byte(text)) {
			t.Fatalf("%q is not valid", text)
		}
		sameTokens(t, []byte(text))
	}
}

func FuzzValidTokens(f *testing.F) {
	for _, text := range validTexts {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if json.Valid(text) {
			sameTokens(t, text)
		}
	})
}

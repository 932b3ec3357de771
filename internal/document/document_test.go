package document

import (
	"strings"
	"testing"
)

func TestNumbersOfYAML(t *testing.T) {
	for text, want := range map[string]string{
		"123456789012345678901234567890": "123456789012345678901234567890", "1.50000000000000000000000000000001": "1.50000000000000000000000000000001",
		"0x1F": "31", "0o17": "15", "0b11": "3", "1_000": "1000", "+5": "5", "-0x10": "-16", ".5": "0.5", "12.": "12", "+1.5": "1.5",
		"1e3": "1e3", "1e400": "1e400", "-0": "-0", `"7"`: `"7"`, "2020-01-01": `"2020-01-01"`, "yes": `"yes"`, "true": "true", "null": "null", "~": "null",
		"!!str 5": `"5"`, "1.2.3": `"1.2.3"`, "12:30": `"12:30"`, "1e": `"1e"`,
	} {
		ps := &Problems{File: "f"}
		n := ParseYAML(ps, []byte("v: "+text+"\n"))
		if n == nil || len(ps.List) > 0 {
			t.Errorf("%s: %v", text, ps.List)
			continue
		}
		if got := string(n.JSON()); got != `{"v":`+want+`}` {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"007", ".inf", ".nan", "1e401", "1e10000000", strings.Repeat("9", 2000), "!!binary aGk="} {
		ps := &Problems{File: "f"}
		ParseYAML(ps, []byte("v: "+text+"\n"))
		if len(ps.List) != 1 || ps.List[0].Line != 1 || ps.List[0].Column != 4 {
			t.Errorf("%.20s: %v", text, ps.List)
		}
	}
}

// TestPointersTellWhatIsThere: null is as if the key was not there.
func TestPointersTellWhatIsThere(t *testing.T) {
	ps := &Problems{File: "f"}
	var into struct {
		List []*struct {
			N *int `yaml:"n"`
		} `yaml:"list"`
	}
	Decode(ps, ParseYAML(ps, []byte("list: [{n: 0}, {}, null]")), "", &into)
	if l := into.List; len(ps.List) > 0 || len(l) != 3 || l[0].N == nil || *l[0].N != 0 || l[1].N != nil || l[2] != nil {
		t.Errorf("%v, %v", ps.List, into)
	}
}

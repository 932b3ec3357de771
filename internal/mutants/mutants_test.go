package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every fault fits the code as it is now; whether tests notice it takes longer,
// and is what make mutants says.
func TestFaultsFitTheCode(t *testing.T) {
	for _, f := range faults {
		code, err := os.ReadFile(filepath.Join("../..", f.file))
		if err != nil {
			t.Error(err)
		} else if n := strings.Count(string(code), f.old); n != 1 || f.old == f.new {
			t.Errorf("%s: %q stands %d times in %s, want once", f.what, f.old, n, f.file)
		}
	}
}

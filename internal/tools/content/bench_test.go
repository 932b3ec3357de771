package content_test

import (
	"strings"
	"testing"
)

// BenchmarkStructured takes an answer of one image of nearly 8 MiB.
func BenchmarkStructured(b *testing.B) {
	raw := []byte(`{"content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"` + strings.Repeat("A", 8<<20-200) + `"}}]}`)
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if r := answer(raw, false, 0); len(r.Content) < 1000 {
			b.Fatal("not taken")
		}
	}
}

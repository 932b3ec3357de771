package telemetry

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// minSecret is the length in bytes of the shortest value that counts as a
// secret: a shorter one would take ordinary words out of every line.
const minSecret = 8

// Redacted stands where a secret stood.
const Redacted = "[redacted]"

// Secrets are the values that no line may show. The zero value has none. It may
// be used by many goroutines at once.
type Secrets struct {
	mu    sync.Mutex // orders Add
	forms atomic.Pointer[[][]byte]
}

// Add makes values secret from now on, in their own form and in those of JSON,
// of Go and of a URL. Those from before stay secret: a key that was replaced may
// still be in use somewhere. Values of less than 8 bytes are passed over.
func (s *Secrets) Add(values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var forms [][]byte
	if old := s.forms.Load(); old != nil {
		forms = slices.Clone(*old)
	}
	add := func(form string) {
		same := func(f []byte) bool { return string(f) == form }
		if !slices.ContainsFunc(forms, same) {
			forms = append(forms, []byte(form))
		}
	}
	for _, v := range values {
		if len(v) < minSecret {
			continue
		}
		add(v)
		if quoted, err := json.Marshal(v); err == nil {
			add(string(quoted[1 : len(quoted)-1]))
		}
		quoted := strconv.Quote(v)
		add(quoted[1 : len(quoted)-1])
		add(url.QueryEscape(v))
		add(url.PathEscape(v))
	}
	// The longest first: a secret can be part of another.
	slices.SortStableFunc(forms, func(a, b []byte) int { return len(b) - len(a) })
	s.forms.Store(&forms)
}

// replace gives line without secrets; line itself where it has none.
func (s *Secrets) replace(line []byte) []byte {
	forms := s.forms.Load()
	if forms == nil {
		return line
	}
	for _, form := range *forms {
		if bytes.Contains(line, form) {
			line = bytes.ReplaceAll(line, form, []byte(Redacted))
		}
	}
	return line
}

// Redact gives a writer that takes the secrets out of each Write to w. What is
// written must be whole lines, as a logger's are: a secret that is cut in two
// writes is not found.
func Redact(w io.Writer, s *Secrets) io.Writer { return &redactor{w, s} }

type redactor struct {
	w       io.Writer
	secrets *Secrets
}

func (r *redactor) Write(line []byte) (int, error) {
	clean := r.secrets.replace(line)
	n, err := r.w.Write(clean)
	if err != nil {
		return min(n, len(line)), err
	}
	// The line as the caller knows it is written in full.
	return len(line), nil
}

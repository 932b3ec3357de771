package schema

import (
	"fmt"
	"log/slog"
	"regexp/syntax"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dlclark/regexp2"
	"github.com/santhosh-tekuri/jsonschema/v5"

	"toolhand/internal/document"
)

// patternKey takes the place of the keyword pattern, where a pattern uses something of
// ECMA-262 that Go's regular expressions lack: the validator knows only these.
const patternKey = "x-toolhand-pattern"

// Bounds of such patterns: a match of one may take as long as it likes.
const (
	matchTimeout    = 50 * time.Millisecond  // of one string
	matchingTimeout = 250 * time.Millisecond // of all strings of an input
	maxMatched      = 64 << 10               // bytes of a string
	maxPattern      = 10_000                 // bytes of a pattern
)

// prepared is the schema as the validator gets it: what it could not compile is taken out
// or left to [ecmaPatterns], and so is what is not to be checked. No tool is lost to a pattern.
func (s *Schema) prepared(n *document.Node, o Options) *document.Node {
	out := *n
	out.Keys, out.Items = nil, nil
	open := s.namesByECMA(n)
	for i, item := range n.Items {
		if n.Kind != document.Mapping {
			out.Items = append(out.Items, s.prepared(item, o))
			continue
		}
		key := *n.Keys[i]
		isText := item.Kind == document.String
		switch {
		case isData(key.Text):
		case isText && key.Text == "pattern" && !isPattern(item.Text):
			if _, err := compileECMA(item.Text); err != nil {
				s.warnings = append(s.warnings, fmt.Sprintf("the pattern %s is not checked: %s", document.Quote(item.Text), document.Cut(document.OneLine(err.Error()), 200)))
				continue
			}
			key.Text = patternKey
		case isText && !o.AssertFormats && (key.Text == "format" || key.Text == "contentEncoding" || key.Text == "contentMediaType"),
			open && (key.Text == "patternProperties" || key.Text == "additionalProperties"):
			continue
		default:
			item = s.prepared(item, o)
		}
		out.Keys, out.Items = append(out.Keys, &key), append(out.Items, item)
	}
	return &out
}

// namesByECMA reports whether names of properties are told apart by a pattern that Go's
// regular expressions lack: which of them are additional can't be told then.
func (s *Schema) namesByECMA(n *document.Node) bool {
	names := n.Get("patternProperties")
	if names == nil || names.Kind != document.Mapping {
		return false
	}
	for _, k := range names.Keys {
		if !isPattern(k.Text) {
			s.warnings = append(s.warnings, fmt.Sprintf("patternProperties and additionalProperties are not checked beside the pattern %s", document.Quote(k.Text)))
			return true
		}
	}
	return false
}

// isData reports whether a keyword holds values instead of schemas.
func isData(keyword string) bool {
	return slices.Contains([]string{"const", "enum", "default", "examples"}, keyword)
}

// isPattern reports whether a string is a pattern of Go's regular expressions. It takes
// the place of the validator's format regex too, which compiles the string: a short one
// may ask for gigabytes.
func isPattern(v any) bool {
	text, ok := v.(string)
	if !ok {
		return true
	}
	_, err := syntax.Parse(text, syntax.Perl)
	return err == nil
}

// compileECMA compiles a pattern as ECMA-262 has it, or else as .NET, which knows a few
// things besides.
func compileECMA(pattern string) (*regexp2.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("expected at most %d bytes", maxPattern)
	}
	re, err := regexp2.Compile(pattern, regexp2.ECMAScript)
	if err != nil {
		re, err = regexp2.Compile(pattern, regexp2.None)
	}
	if err != nil {
		return nil, err
	}
	re.MatchTimeout = matchTimeout
	return re, nil
}

// ecmaPatterns compiles patternKey.
type ecmaPatterns struct {
	work *work
	log  *slog.Logger
}

// Compile implements jsonschema.ExtCompiler.
func (p *ecmaPatterns) Compile(_ jsonschema.CompilerContext, m map[string]any) (jsonschema.ExtSchema, error) {
	text, ok := m[patternKey].(string)
	if !ok {
		return nil, nil
	}
	re, err := compileECMA(text)
	if err != nil {
		return nil, nil //nolint:nilerr // a schema that has the keyword itself: it means nothing to us
	}
	return &ecmaPattern{re: re, ecmaPatterns: p}, nil
}

// ecmaPattern is one pattern. A match that takes too long counts as one.
type ecmaPattern struct {
	*ecmaPatterns
	re   *regexp2.Regexp
	told atomic.Bool
}

// Validate implements jsonschema.ExtSchema.
func (p *ecmaPattern) Validate(ctx jsonschema.ValidationContext, v any) error {
	text, ok := v.(string)
	if !ok {
		return nil
	}
	began := time.Now()
	matched, err := true, error(nil)
	if p.work.count.matching < matchingTimeout && len(text) <= maxMatched {
		matched, err = p.re.MatchString(text)
		p.work.count.matching += time.Since(began)
	} else {
		err = fmt.Errorf("more than %s for the patterns of one input, or a string of more than %d bytes", matchingTimeout, maxMatched)
	}
	if err != nil && p.log != nil && !p.told.Swap(true) {
		p.log.Warn("a pattern of a tool's schema took too long on an input: it counts as a match", "pattern", document.Short(p.re.String()), "limit", matchTimeout)
	}
	if err != nil || matched {
		return nil
	}
	return ctx.Error("pattern", "does not match pattern %s", document.Quote(p.re.String()))
}

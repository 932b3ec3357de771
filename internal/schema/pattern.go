package schema

import (
	"fmt"
	"log/slog"
	"regexp/syntax"
	"slices"
	"sync"
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
// or left to [ecmaPatterns], and so is what is not to be checked. No tool is lost to a
// pattern.
func (s *Schema) prepared(n *document.Node, o Options) *document.Node {
	out, _ := s.prepare(n, asPart, o)
	return out
}

// prepare is prepared for what stands at a place. It reports whether a part takes more
// now than it says: then the keywords that turn its sense round are taken out above it, as
// they would refuse what it takes too much.
func (s *Schema) prepare(n *document.Node, at place, o Options) (out *document.Node, looser bool) {
	if n.Kind < document.List || at == asData {
		return n, false
	}
	copied := *n
	copied.Keys, copied.Items = nil, nil
	open := at == asPart && s.namesByECMA(n)
	dropped := map[string]bool{}
	for i, item := range n.Items {
		if n.Kind == document.List {
			part, loose := s.prepare(item, at, o)
			copied.Items, looser = append(copied.Items, part), looser || loose
			continue
		}
		key := *n.Keys[i]
		part, loose := item, false
		if at == asNames || !s.keyword(&key, item, o) {
			part, loose = s.prepare(item, at.below(key.Text), o)
		}
		looser = looser || loose || key.Text == ""
		switch {
		case key.Text == "":
			continue
		case at == asPart && loose && turns(key.Text):
			dropped[key.Text] = true
		case at == asPart && open && key.Text == "patternProperties":
			part = onlyGo(part)
		case at == asPart && open && key.Text == "additionalProperties":
			continue
		}
		copied.Keys, copied.Items = append(copied.Keys, &key), append(copied.Items, part)
	}
	if open { // which of the names are additional can't be told
		all := &document.Node{Kind: document.Bool, Text: "true", Line: n.Line, Column: n.Column}
		copied.Keys, copied.Items = append(copied.Keys, &document.Node{Kind: document.String, Text: "additionalProperties"}), append(copied.Items, all)
		looser = true
	}
	return s.without(&copied, dropped), looser
}

// keyword looks at a keyword whose value is a string. It is renamed where the value is
// left to [ecmaPatterns]; its name is empty where it is taken out, because a pattern can't
// be compiled, or because the form of a string is not to be checked. It reports whether
// that is all there is to do.
func (s *Schema) keyword(key, item *document.Node, o Options) bool {
	switch {
	case key.Text == patternKey:
		key.Text += "-of-its-own" // ours means something
		return true
	case item.Kind != document.String:
		return false
	case key.Text == "pattern" && !isPattern(item.Text):
		key.Text = patternKey
		if _, err := compileECMA(item.Text); err != nil {
			key.Text = ""
			s.warnings = append(s.warnings, fmt.Sprintf("the pattern %s is not checked: %s", document.Quote(item.Text), document.Cut(document.OneLine(err.Error()), 200)))
		}
	case !o.AssertFormats && (key.Text == "format" || key.Text == "contentEncoding" || key.Text == "contentMediaType"):
		key.Text += "-annotation"
	}
	return true
}

// turns reports whether a keyword refuses something where a part takes it.
func turns(keyword string) bool {
	return slices.Contains([]string{"not", "oneOf", "if", "contains"}, keyword)
}

// without is a part without keywords that turn the sense of others, and what goes with
// them.
func (s *Schema) without(n *document.Node, dropped map[string]bool) *document.Node {
	if len(dropped) == 0 {
		return n
	}
	goes := map[string][]string{"if": {"then", "else"}, "contains": {"minContains", "maxContains"}}
	for keyword := range dropped {
		s.warnings = append(s.warnings, fmt.Sprintf("%s is not checked in line %d of the schema, since a pattern below it is not", keyword, n.Line))
		for _, other := range append(goes[keyword], keyword) {
			if i := slices.IndexFunc(n.Keys, func(k *document.Node) bool { return k.Text == other }); i >= 0 {
				n.Keys, n.Items = slices.Delete(n.Keys, i, i+1), slices.Delete(n.Items, i, i+1)
			}
		}
	}
	return n
}

// onlyGo are the names of patternProperties that Go's regular expressions know.
func onlyGo(n *document.Node) *document.Node {
	copied := *n
	copied.Keys, copied.Items = nil, nil
	for i, k := range n.Keys {
		if isPattern(k.Text) {
			copied.Keys, copied.Items = append(copied.Keys, k), append(copied.Items, n.Items[i])
		}
	}
	return &copied
}

// namesByECMA reports whether names of properties are told apart by a pattern that Go's
// regular expressions lack.
func (s *Schema) namesByECMA(n *document.Node) bool {
	names := n.Get("patternProperties")
	if names == nil || names.Kind != document.Mapping {
		return false
	}
	for _, k := range names.Keys {
		if !isPattern(k.Text) {
			s.warnings = append(s.warnings, fmt.Sprintf("the properties of the pattern %s are not checked, and additionalProperties is not beside it", document.Quote(k.Text)))
			return true
		}
	}
	return false
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

// checkPeriod has time-outs of matches looked at often enough.
var checkPeriod = sync.OnceFunc(func() { regexp2.SetTimeoutCheckPeriod(matchTimeout / 5) })

// compileECMA compiles a pattern as ECMA-262 has it, or else as .NET, which knows a few
// things besides.
func compileECMA(pattern string) (re *regexp2.Regexp, err error) {
	defer func() {
		if r := recover(); r != nil {
			re, err = nil, fmt.Errorf("it can't be compiled: %v", r)
		}
	}()
	checkPeriod()
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("expected at most %d bytes", maxPattern)
	}
	re, err = regexp2.Compile(pattern, regexp2.ECMAScript)
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

package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"toolhand/internal/document"
	"toolhand/internal/schema"
)

// MaxTools is the largest number of tools of one agent, by the API.
const MaxTools = 256

// Tool is what one manifest says, ready to be called. It is immutable, and any
// number of goroutines may use it: a call keeps the tool that it began with.
type Tool struct {
	Manifest
	// File is the path of the manifest; empty for a tool that has none.
	File string
	// Group is the name of the manifest, where that is one of many tools of an MCP
	// server; empty for a tool with a manifest of its own.
	Group string

	schema *schema.Schema
	// announcers is set where services announce the tool and no manifest.
	announcers *announcers
	// place is that of the name in the manifest.
	place *document.Node
	// said is a digest of all that is said of it.
	said digest
	// guessed says that nothing but a group of all tools without a prefix claims the name,
	// whose server has listed none.
	guessed bool
	// listed is the group that the tool is of; nil for a tool that is all its manifest's.
	listed *group
}

// Rate is a manifest's rate. Its zero value is no bound.
type Rate struct {
	// Calls may begin in each Per.
	Calls float64
	Per   time.Duration
}

// String is the rate as a manifest spells it; empty without a bound.
func (r Rate) String() string {
	unit := map[time.Duration]string{time.Second: "s", time.Minute: "m", time.Hour: "h"}[r.Per]
	if r.Calls <= 0 || unit == "" {
		return ""
	}
	return strconv.FormatFloat(r.Calls, 'f', -1, 64) + "/" + unit
}

// maxWindow bounds the calls of a window: whoever keeps it remembers them all.
const maxWindow = 4096

// Window is the rate as whole calls in a span of time; 0 calls is no bound. The
// span is shorter where the calls would be too many to remember, and longer where
// they would be less than one.
func (r Rate) Window() (calls int, per time.Duration) {
	if r.Calls <= 0 || r.Per <= 0 {
		return 0, 0
	}
	n := min(max(1, math.Floor(r.Calls)), maxWindow)
	return int(n), time.Duration(math.Ceil(float64(r.Per) * n / r.Calls))
}

// LimitName is the name under which the tool's calls are counted against its
// Concurrency and Rate: the tools of a group share theirs.
func (t *Tool) LimitName() string {
	if t.Group != "" {
		return t.Group
	}
	return t.Name
}

// Guessed reports whether the tool may be another's: an MCP server may have one of any name
// that has listed nothing yet, where its manifest gives no prefix.
func (t *Tool) Guessed() bool { return t.guessed }

// Validate checks the input of a call; see [schema.Schema.Validate].
func (t *Tool) Validate(ctx context.Context, input json.RawMessage) error {
	return t.schema.Validate(ctx, t.Name, input)
}

// Set is a complete set of tools. It is immutable.
type Set struct {
	byName   map[string]*Tool
	sorted   []*Tool
	warnings []string
	own      []*Tool // of the folder
	groups   []*group
	// unavailable are the tools that are known and can't be reached now; their handlers
	// say why. unlisted are the groups of all tools of a server that has listed none.
	unavailable map[string]*Tool
	unlisted    []unlisted
	// schemas are those of the tools that the servers of groups list, also of tools
	// that can't be used.
	schemas map[digest]compiled
	// base is the set without what is announced; nil where nothing is.
	base *Set
}

// NewSet makes a set of tools. Of two tools of one name the last one stays.
func NewSet(list ...*Tool) *Set {
	s := &Set{byName: make(map[string]*Tool, len(list))}
	for _, t := range list {
		s.byName[t.Name] = t
	}
	s.sort()
	return s
}

func (s *Set) sort() {
	s.sorted = slices.SortedFunc(maps.Values(s.byName), func(a, b *Tool) int { return cmp.Compare(a.Name, b.Name) })
}

// Lookup finds a tool by its name, case and all. Of one that is known and unavailable now,
// it finds what answers each call with why; Tools does not have it.
func (s *Set) Lookup(name string) (*Tool, bool) {
	if t, ok := s.byName[name]; ok {
		return t, true
	}
	if t, ok := s.unavailable[name]; ok {
		return t, true
	}
	// Of several groups that may be meant, the one with the longest prefix is.
	var found *unlisted
	for i, u := range s.unlisted {
		if strings.HasPrefix(name, u.group.cfg.Prefix) && (found == nil || len(u.group.cfg.Prefix) > len(found.group.cfg.Prefix)) {
			found = &s.unlisted[i]
		}
	}
	if found == nil || standard().form.Expect("name", name) != nil {
		return nil, false
	}
	t := found.group.unlistedTool(name, strings.TrimPrefix(name, found.group.cfg.Prefix), found.why, found.log)
	t.guessed = found.group.cfg.Prefix == ""
	return t, true
}

// Tools gives all tools, sorted by name. The slice is the caller's own.
func (s *Set) Tools() []*Tool { return append([]*Tool(nil), s.sorted...) }

// Warnings are what Load accepted but an operator should know, one line each:
// a file that is not called like its tool, keys that have no effect yet.
func (s *Set) Warnings() []string { return append([]string(nil), s.warnings...) }

// Export gives the agent's tools array, indented, with a newline at its end.
// A schema that refers to another file is an error: the API can't follow it.
func (s *Set) Export() ([]byte, error) {
	type custom struct {
		Type        string          `json:"type"`
		Name        string          `json:"name"`
		Description string          `json:"description"`
		InputSchema json.RawMessage `json:"input_schema"`
	}
	list := make([]custom, 0, len(s.sorted))
	for _, t := range s.sorted {
		if ref := t.schema.FileRef(); ref != "" {
			return nil, fmt.Errorf("%s: the input_schema of tool %q refers to %s, which the API can't read: put that part into the schema's own $defs", t.File, t.Name, document.Short(ref))
		}
		list = append(list, custom{"custom", t.Name, t.Description, t.InputSchema})
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(list); err != nil {
		return nil, fmt.Errorf("exporting the tools: %w", err)
	}
	return out.Bytes(), nil
}

package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"toolhand/internal/tools"
)

// What the API allows, and what a manifest gets that does not say.
const (
	// MaxTools is the largest number of tools of one agent.
	MaxTools = 256
	// MaxDescription is the longest description, in characters.
	MaxDescription = 1024
	// DefaultDeadline is the deadline of a tool that names none.
	DefaultDeadline = 120 * time.Second
	// DefaultMaxResultBytes is the size of a result's text, in bytes.
	DefaultMaxResultBytes = 262144

	defaultDeadlineText = "120s"
)

// Tool is what one manifest says, ready to be called. It is immutable, and any
// number of goroutines may use it: a call keeps the tool that it began with.
type Tool struct {
	// Name is 1 to 128 letters, digits, _ and -; Description is not empty.
	Name, Description string
	// InputSchema is the schema as JSON, its keys in their order and its
	// numbers as they were written.
	InputSchema json.RawMessage
	// Deadline is the wall clock from the receipt of a call to its result.
	Deadline time.Duration
	// DeadlineText is Deadline in the manifest's spelling, such as 2m.
	DeadlineText string
	// Concurrency bounds the calls that run at once; 0 is no bound.
	Concurrency int
	// Idempotent reports whether a call may be run again.
	Idempotent bool
	// MaxResultBytes bounds the text of a result, in bytes.
	MaxResultBytes int
	// Kind is the handler's key in the manifest, such as exec.
	Kind string
	// File is the path of the manifest, empty for a tool made by NewTool.
	File string
	// Handler runs the calls.
	Handler tools.Handler
	// Retry says how often a call is tried, and Rate how many may begin.
	Retry Retry
	Rate  Rate

	// Group is the name of the manifest, where that is one of many tools of an MCP
	// server; empty for a tool with a manifest of its own.
	Group string

	schema *schema
	// announcers is set where services announce the tool and no manifest.
	announcers *announcers
	// nameLine and nameColumn are the place of the name in the manifest.
	nameLine, nameColumn int
}

// Retry is a manifest's retry: how often a call is tried that surely did not run,
// or may be run twice. Its zero value leaves it to whoever runs the call.
type Retry struct {
	// Attempts counts the first one too; 0: not said.
	Attempts int `yaml:"attempts"`
	// Backoff is the wait before the second attempt; it doubles with each. 0: not
	// said.
	Backoff time.Duration `yaml:"backoff"`
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

// Validate checks the input of a call. It returns nil, or an *InvalidError
// whose Text is the answer to the agent. Its time and memory are bounded
// whatever the input is; a panic of the validator becomes an *InvalidError too.
func (t *Tool) Validate(input json.RawMessage) error {
	return t.ValidateContext(context.Background(), input)
}

// ValidateContext is Validate until ctx is over: then it stops, and returns ctx's
// cause.
func (t *Tool) ValidateContext(ctx context.Context, input json.RawMessage) error {
	return t.schema.validate(ctx, t.Name, input)
}

// Spec is a tool that is made in Go instead of by a manifest. Zero values are
// the manifest's defaults.
type Spec struct {
	// Name and Handler are required. Description is the name if it is empty.
	Name, Description string
	// InputSchema is {"type":"object"} if it is empty. It refers to no files.
	InputSchema    json.RawMessage
	Deadline       time.Duration
	DeadlineText   string
	Concurrency    int
	Idempotent     bool
	MaxResultBytes int
	Retry          Retry
	Rate           Rate
	// Kind is go if it is empty.
	Kind    string
	Handler tools.Handler
}

// NewTool makes a tool of a spec, with its schema compiled.
func NewTool(spec Spec) (*Tool, error) {
	t := &Tool{
		Name: spec.Name, Description: spec.Description, InputSchema: spec.InputSchema,
		Deadline: spec.Deadline, DeadlineText: spec.DeadlineText, Concurrency: spec.Concurrency,
		Idempotent: spec.Idempotent, MaxResultBytes: spec.MaxResultBytes, Kind: spec.Kind, Handler: spec.Handler,
		Retry: spec.Retry, Rate: spec.Rate,
	}
	t.applyDefaults()
	if err := checkName(t.Name); err != nil {
		return nil, fmt.Errorf("name: %w", err)
	}
	if err := checkDescription(t.Description); err != nil {
		return nil, fmt.Errorf("description of tool %q: %w", t.Name, err)
	}
	if t.Handler == nil {
		return nil, fmt.Errorf("tool %q has no handler", t.Name)
	}
	if t.Deadline < 0 || t.Concurrency < 0 || t.MaxResultBytes < 0 {
		return nil, fmt.Errorf("tool %q: a number is negative", t.Name)
	}
	ps := &problems{file: t.Name}
	n := parseJSON(ps, t.InputSchema)
	if n != nil {
		t.schema = compileSchema(ps, n, schemaHome{})
	}
	if len(ps.list) > 0 {
		return nil, fmt.Errorf("input_schema of tool %w", &Errors{Problems: ps.sorted()})
	}
	t.InputSchema = n.json()
	return t, nil
}

func (t *Tool) applyDefaults() {
	if t.Description == "" {
		t.Description = t.Name
	}
	if len(t.InputSchema) == 0 {
		t.InputSchema = json.RawMessage(`{"type":"object"}`)
	}
	if t.Deadline == 0 {
		t.Deadline, t.DeadlineText = DefaultDeadline, defaultDeadlineText
	}
	if t.DeadlineText == "" {
		t.DeadlineText = t.Deadline.String()
	}
	if t.MaxResultBytes == 0 {
		t.MaxResultBytes = DefaultMaxResultBytes
	}
	if t.Kind == "" {
		t.Kind = "go"
	}
}

func checkName(name string) error {
	if part := standard().partAt("name"); part.Validate(name) != nil {
		return fmt.Errorf("expected %s, found %s (%d characters)", part.Title, quoteShort(name), utf8.RuneCountInString(name))
	}
	return nil
}

func checkDescription(text string) error {
	part := standard().partAt("description")
	if n := utf8.RuneCountInString(text); n > part.MaxLength {
		return fmt.Errorf("expected at most %d characters, found %d", part.MaxLength, n)
	}
	if part.Validate(text) != nil {
		found := "nothing"
		if strings.TrimSpace(text) != "" {
			found = quoteShort(text)
		}
		return fmt.Errorf("expected %s, found %s", part.Title, found)
	}
	return nil
}

// Set is a complete set of tools. It is immutable.
type Set struct {
	byName   map[string]*Tool
	sorted   []*Tool
	warnings []string
	groups   []*group
	absences []absence
	// schemas are those of the tools that the servers of groups list, also of tools
	// that can't be used.
	schemas map[digest]compiled
	// base is the set without what is announced, away what is announced no more;
	// both are nil where nothing is.
	base *Set
	away map[string]*Tool
}

// NewSet makes a set of tools. Of two tools of one name the last one stays.
func NewSet(list ...*Tool) *Set {
	s := &Set{byName: make(map[string]*Tool, len(list))}
	for _, t := range list {
		s.byName[t.Name] = t
	}
	for _, t := range s.byName {
		s.sorted = append(s.sorted, t)
	}
	sort.Slice(s.sorted, func(i, j int) bool { return s.sorted[i].Name < s.sorted[j].Name })
	return s
}

// Lookup finds a tool by its name, case and all. Of an MCP server whose tools are
// not known, or that lacks one which a manifest names, and of an announced tool that
// is away, it finds one whose calls are answered as unavailable; Tools does not have
// it.
func (s *Set) Lookup(name string) (*Tool, bool) {
	if t, ok := s.byName[name]; ok {
		return t, true
	}
	if t, ok := s.away[name]; ok {
		return t, true
	}
	return s.absent(name)
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
		if ref := t.schema.fileRef; ref != "" {
			return nil, fmt.Errorf("%s: the input_schema of tool %q refers to %s, which the API can't read: put that part into the schema's own $defs", t.File, t.Name, shorten(ref))
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

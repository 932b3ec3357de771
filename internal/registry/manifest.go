package registry

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ratePattern takes a rate apart; the schema has its bounds.
var ratePattern = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)/(s|m|h)$`)

// manifest reads one file. Every method tells what is wrong and goes on.
type manifest struct {
	*problems
	opts *Options
	// file is the manifest's absolute path, dir that of its folder; real is
	// dir without symbolic links.
	file, dir, real string
	warnings        []string
	// group is set where the manifest is one of many tools.
	group *group
}

// read gives the tool of the manifest's text, or nil if anything is wrong, or if it
// is a group.
func (m *manifest) read(data []byte) *Tool {
	top := parseYAML(m.problems, data)
	if top == nil {
		return nil
	}
	if top.kind != kindObject {
		m.at(top, "expected a mapping with name, description, input_schema and handler, found %s", top.describe())
		return nil
	}
	m.known(top, "")
	t := &Tool{File: m.problems.file}
	if t.Name = m.name(top); t.Name != "" {
		t.nameLine, t.nameColumn = top.get("name").line, top.get("name").column
	}
	m.limits(top, t)
	m.retry(top, t)
	m.rate(top, t)
	kind, spec := m.findKind(top)
	if isGroup(kind, spec) {
		m.groupOnly(top)
	} else {
		t.Description = m.description(top)
		m.schema(top, t)
	}
	t.Kind = kind
	m.handler(kind, spec, t)
	if len(m.list) == 0 {
		m.conform(top)
	}
	if len(m.list) > 0 || m.group != nil {
		return nil
	}
	return t
}

// known tells of keys that do not belong into the mapping at where.
func (m *manifest) known(n *node, where string) {
	keys := m.opts.format.keysAt(where)
	if where != "" {
		where += ": "
	}
	for _, k := range n.keys {
		if slices.Contains(keys, k.text) {
			continue
		}
		hint := ""
		if near := nearest(k.text, keys); near != "" {
			hint = fmt.Sprintf(" (did you mean %s?)", near)
		}
		m.at(k, "%sthe key %s is not known%s: expected %s", where, quoteShort(k.text), hint, strings.Join(keys, ", "))
	}
}

func (m *manifest) name(top *node) string {
	n := top.get("name")
	if n == nil {
		m.at(top, "the key name is missing: expected 1 to 128 letters, digits, _ and -")
		return ""
	}
	text, ok := m.text(n, "name")
	if !ok {
		return ""
	}
	if err := checkName(text); err != nil {
		m.at(n, "name: %s", err)
		return ""
	}
	base := filepath.Base(m.problems.file)
	if want := strings.TrimSuffix(base, filepath.Ext(base)); want != text {
		m.warnings = append(m.warnings, fmt.Sprintf("%s:%d:%d: the tool is called %q, so its file is expected to be %s%s", m.problems.file, n.line, n.column, text, text, filepath.Ext(base)))
	}
	return text
}

func (m *manifest) description(top *node) string {
	n := top.get("description")
	if n == nil {
		m.at(top, "the key description is missing: expected what the tool does and when to use it")
		return ""
	}
	text, ok := m.text(n, "description")
	if !ok {
		return ""
	}
	if err := checkDescription(text); err != nil {
		m.at(n, "description: %s", err)
	}
	return text
}

func (m *manifest) limits(top *node, t *Tool) {
	t.Deadline, t.DeadlineText = DefaultDeadline, defaultDeadlineText
	if n := top.get("deadline"); n != nil {
		t.Deadline, t.DeadlineText = m.duration(n, "deadline")
	}
	t.Concurrency = m.count(top.get("concurrency"), "concurrency", 0)
	t.MaxResultBytes = m.count(top.get("max_result_bytes"), "max_result_bytes", DefaultMaxResultBytes)
	if n := top.get("idempotent"); n != nil {
		t.Idempotent = m.boolean(n, "idempotent")
	}
}

func (m *manifest) retry(top *node, t *Tool) {
	n := top.get("retry")
	if n == nil {
		return
	}
	if !m.mapping(n, "retry", "{ attempts: 3, backoff: 500ms }") {
		return
	}
	t.Retry.Attempts = 1
	m.fields(n, "retry", &t.Retry)
}

func (m *manifest) rate(top *node, t *Tool) {
	n := top.get("rate")
	if n == nil {
		return
	}
	parts := ratePattern.FindStringSubmatch(n.text)
	if n.kind != kindString || parts == nil {
		m.at(n, "rate: expected calls per second, minute or hour such as 10/s, found %s", n.describe())
		return
	}
	calls, err := strconv.ParseFloat(parts[1], 64)
	if part := m.opts.format.partAt("rate"); err != nil || calls <= 0 || part.Validate(n.text) != nil {
		m.at(n, "rate: expected %s, found %s", part.Title, quoteShort(n.text))
		return
	}
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}
	t.Rate = Rate{Calls: calls, Per: per[parts[2]]}
}

// nearest gives the key that a wrong one was probably meant to be, or nothing.
func nearest(wrong string, keys []string) string {
	best, distance := "", 3
	if len(wrong) > 40 {
		return ""
	}
	for _, k := range keys {
		if d := editDistance(strings.ToLower(wrong), k); d < distance {
			best, distance = k, d
		}
	}
	return best
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}

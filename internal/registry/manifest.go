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
	kind, spec := m.handlerKind(top)
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
	keys := keysAt(where)
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
	t.Concurrency = m.count(top, "concurrency", 0)
	t.MaxResultBytes = m.count(top, "max_result_bytes", DefaultMaxResultBytes)
	if n := top.get("idempotent"); n != nil {
		if n.kind != kindBool {
			m.at(n, "idempotent: expected true or false, found %s", n.describe())
		}
		t.Idempotent = n.text == "true"
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
	m.known(n, "retry")
	t.Retry.Attempts = m.count(n, "retry.attempts", 1)
	if backoff := n.get("backoff"); backoff != nil {
		t.Retry.Backoff, _ = m.duration(backoff, "retry.backoff")
	}
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
	if part := partAt("rate"); err != nil || calls <= 0 || part.Validate(n.text) != nil {
		m.at(n, "rate: expected %s, found %s", part.Title, quoteShort(n.text))
		return
	}
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}
	t.Rate = Rate{Calls: calls, Per: per[parts[2]]}
}

func (m *manifest) text(n *node, key string) (string, bool) {
	if n.kind != kindString {
		hint := ""
		if n.kind == kindNumber || n.kind == kindBool {
			hint = fmt.Sprintf(": write %q", n.text)
		}
		m.at(n, "%s: expected a string, found %s%s", key, n.describe(), hint)
		return "", false
	}
	if strings.ContainsRune(n.text, 0) {
		m.at(n, "%s: expected text without the NUL character", key)
		return "", false
	}
	return n.text, true
}

func (m *manifest) mapping(n *node, key, example string) bool {
	if n.kind != kindObject {
		m.at(n, "%s: expected a mapping such as %s, found %s", key, example, n.describe())
		return false
	}
	return true
}

// duration reads a positive duration, and gives its spelling too.
func (m *manifest) duration(n *node, key string) (time.Duration, string) {
	switch n.kind {
	case kindNumber:
		m.at(n, "%s: expected a duration with its unit such as 120s, found the number %s: write %ss", key, shorten(n.text), shorten(n.text))
		return 0, ""
	case kindString:
	default:
		m.at(n, "%s: expected a duration such as 120s or 2m, found %s", key, n.describe())
		return 0, ""
	}
	d, err := time.ParseDuration(n.text)
	if err != nil {
		m.at(n, "%s: expected a duration such as 120s or 2m, found %s", key, n.describe())
		return 0, ""
	}
	if d <= 0 {
		m.at(n, "%s: expected a duration above zero such as 120s, found %s", key, n.describe())
		return 0, ""
	}
	return d, n.text
}

// count reads a whole number within the schema's bounds; where ends with its key.
func (m *manifest) count(top *node, where string, fallback int) int {
	n := top.get(where[strings.LastIndexByte(where, '.')+1:])
	if n == nil {
		return fallback
	}
	least, most := bounds(where)
	if n.kind == kindNumber {
		if i, err := strconv.Atoi(n.text); err == nil && i >= least && i <= most {
			return i
		}
	}
	m.at(n, "%s: expected a whole number from %d to %d, found %s", where, least, most, n.describe())
	return fallback
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

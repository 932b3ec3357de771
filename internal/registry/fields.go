package registry

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// fields reads the mapping at where into the struct that into points to; its tags are
// those of [toolhand/internal/tools.Config].
func (m *manifest) fields(n *node, where string, into any) {
	m.known(n, where)
	for field, value := range reflect.ValueOf(into).Elem().Fields() {
		key, required := field.Tag.Get("yaml"), field.Tag.Get("required")
		item, at := n.get(key), where+"."+key
		switch {
		case key == "-":
		case item != nil:
			m.value(item, at, value.Addr().Interface())
			lacks, ok := field.Tag.Lookup("lacks")
			if ok && item.kind == kindArray && (len(item.items) == 0 || value.Len() > 0 && value.Index(0).String() == "") {
				m.at(item, "%s: expected %s, found no %s", at, required, lacks)
			}
		case required != "":
			m.at(n, "%s: the key %s is missing: expected %s", where, key, required)
		}
	}
}

// value reads one value by the type of what it is read into.
func (m *manifest) value(n *node, where string, into any) {
	switch into := into.(type) {
	case *string:
		*into, _ = m.text(n, where)
	case *bool:
		*into = m.boolean(n, where)
	case *int:
		*into = m.count(n, where, 0)
	case *time.Duration:
		*into, _ = m.duration(n, where)
	case *[]string:
		*into = m.texts(n, where)
	case *map[string]string:
		*into = m.pairs(n, where)
	default:
		panic(fmt.Sprintf("%s: nothing reads a %T", where, into)) // a test has each key of each kind
	}
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

func (m *manifest) boolean(n *node, key string) bool {
	if n.kind != kindBool {
		m.at(n, "%s: expected true or false, found %s", key, n.describe())
	}
	return n.text == "true"
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

// count reads a whole number within the schema's bounds. It is fallback where there is
// none.
func (m *manifest) count(n *node, where string, fallback int) int {
	if n == nil {
		return fallback
	}
	part := m.opts.format.partAt(where)
	least, most := int(part.Minimum.Num().Int64()), int(part.Maximum.Num().Int64())
	if n.kind == kindNumber {
		if i, err := strconv.Atoi(n.text); err == nil && i >= least && i <= most {
			return i
		}
	}
	m.at(n, "%s: expected a whole number from %d to %d, found %s", where, least, most, n.describe())
	return fallback
}

func (m *manifest) texts(list *node, where string) []string {
	if list.kind != kindArray {
		m.at(list, "%s: expected a list of strings, found %s", where, list.describe())
		return nil
	}
	var out []string
	for i, item := range list.items {
		if text, ok := m.text(item, fmt.Sprintf("%s[%d]", where, i)); ok {
			out = append(out, text)
		}
	}
	return out
}

func (m *manifest) pairs(table *node, where string) map[string]string {
	if !m.mapping(table, where, "{ KEY: value }") {
		return nil
	}
	out := make(map[string]string, len(table.keys))
	for i, k := range table.keys {
		if text, ok := m.text(table.items[i], where+"."+shorten(k.text)); ok {
			out[k.text] = text
		}
	}
	return out
}

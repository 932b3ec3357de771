package schema

import (
	"encoding/json"
	"math/big"
	"sort"
	"strconv"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// uniqueItems takes the place of the validator's own check, whose hash does not
// see how lists are nested: an array of differently nested lists makes it
// quadratic. This one writes each item in a canonical form, once.
type uniqueItems struct {
	work *work // nil: not counted
}

func (u uniqueItems) Validate(ctx jsonschema.ValidationContext, v any) error {
	items, ok := v.([]any)
	if !ok {
		return nil
	}
	seen := make(map[string]int, len(items))
	for i, item := range items {
		key := string(canonical(nil, item))
		if u.work != nil {
			u.work.spend(1 + len(key)/128)
		}
		if j, twice := seen[key]; twice {
			return ctx.Error("uniqueItems", "items at index %d and %d are equal", j, i)
		}
		seen[key] = i
	}
	return nil
}

// canonical writes v so that two values are equal if and only if their forms
// are: 1, 1.0 and 10e-1 are one number to JSON Schema.
func canonical(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, 'n')
	case bool:
		return strconv.AppendBool(b, v)
	case string:
		return strconv.AppendQuote(b, v)
	case json.Number:
		r, ok := new(big.Rat).SetString(v.String())
		if !ok {
			return append(b, v...)
		}
		return append(b, r.RatString()...)
	case []any:
		b = append(b, '[')
		for _, item := range v {
			b = append(canonical(b, item), ',')
		}
		return append(b, ']')
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		b = append(b, '{')
		for _, k := range keys {
			b = append(strconv.AppendQuote(b, k), ':')
			b = append(canonical(b, v[k]), ',')
		}
		return append(b, '}')
	}
	return b
}

package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Bounds of an input, checked before the validator sees it, which has neither a
// context nor a bound of its own. Measured in docs/decisions/0002-input-limits.md.
const (
	maxInputBytes    = 8 << 20
	maxInputDepth    = 100
	maxInputValues   = 50_000
	maxExponent      = 400
	maxNumberLength  = 1024
	maxPointersBytes = 64 << 20
)

// decoder builds the value of an input and counts what it costs.
type decoder struct {
	dec    tokens
	values int
	// pointers sums the lengths of the JSON pointers of all values: the
	// validator builds each of them, needed or not.
	pointers int
	path     []string
	cost     inputCost
}

// inputCost is what makes the check of an input dear.
type inputCost struct {
	bytes, values, depth int
	// longest is the length of the longest string, names included, and pointer that
	// of the longest JSON pointer.
	longest, pointer int
	// widest is the largest number of values that one of them holds.
	widest int
}

func refuse(pointer, expected, found string) violation {
	return violation{pointer: pointer, expected: expected, found: found}
}

// decodeInput gives the value with numbers kept as they are written. Its errors
// are violations.
func decodeInput(input []byte) (value map[string]any, cost inputCost, err error) {
	if len(input) > maxInputBytes {
		return nil, cost, refuse("", fmt.Sprintf("at most %d bytes of JSON", maxInputBytes), fmt.Sprint(len(input)))
	}
	d := &decoder{dec: tokensOf(input)}
	v, err := d.value(0)
	if err != nil {
		return nil, cost, err
	}
	if _, err := d.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, cost, refuse("", "one JSON object", fmt.Sprintf("more text behind it, at byte %d", d.dec.InputOffset()))
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, cost, refuse("", "a JSON object", describe(v))
	}
	d.cost.bytes, d.cost.values = len(input), d.values
	return object, d.cost, nil
}

func (d *decoder) syntax(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return refuse("", "a JSON object", fmt.Sprintf("the end of the text at byte %d", d.dec.InputOffset()))
	}
	return refuse("", "valid JSON", fmt.Sprintf("an error near byte %d: %s", d.dec.InputOffset(), shorten(strings.TrimPrefix(err.Error(), "json: "))))
}

func (d *decoder) pointer() string {
	var b strings.Builder
	for _, token := range d.path {
		b.WriteByte('/')
		b.WriteString(escapePointer(token))
	}
	return b.String()
}

func escapePointer(token string) string {
	return strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1")
}

func (d *decoder) value(pointerLength int) (any, error) {
	token, err := d.dec.Token()
	if err != nil {
		return nil, d.syntax(err)
	}
	if d.values++; d.values > maxInputValues {
		return nil, refuse("", fmt.Sprintf("at most %d values in all", maxInputValues), "more")
	}
	if d.pointers += pointerLength; d.pointers > maxPointersBytes {
		return nil, refuse("", "shorter keys or less nesting: the paths of all values together are too long to check", "")
	}
	d.cost.pointer = max(d.cost.pointer, pointerLength)
	switch t := token.(type) {
	case string:
		d.cost.longest = max(d.cost.longest, len(t))
	case json.Number:
		if why := checkNumber(t.String()); why != "" {
			return nil, refuse(d.pointer(), why, shorten(t.String()))
		}
		return t, nil
	case json.Delim:
		if len(d.path) >= maxInputDepth {
			return nil, refuse("", fmt.Sprintf("at most %d levels of nesting", maxInputDepth), "more")
		}
		d.cost.depth = max(d.cost.depth, len(d.path)+1)
		if t == '{' {
			return d.object(pointerLength)
		}
		return d.array(pointerLength)
	}
	return token, nil
}

func (d *decoder) object(pointerLength int) (any, error) {
	object := make(map[string]any)
	for d.dec.More() {
		token, err := d.dec.Token()
		if err != nil {
			return nil, d.syntax(err)
		}
		key, ok := token.(string)
		if !ok {
			return nil, d.syntax(fmt.Errorf("a key is not a string"))
		}
		if _, twice := object[key]; twice {
			// A tool that takes the first of two would see another value than
			// the one that was checked.
			return nil, refuse(d.pointer(), "each property once", quoteShort(key)+" twice")
		}
		d.cost.longest = max(d.cost.longest, len(key))
		d.path = append(d.path, key)
		v, err := d.value(pointerLength + len(key) + 1)
		if err != nil {
			return nil, err
		}
		d.path = d.path[:len(d.path)-1]
		object[key] = v
	}
	d.cost.widest = max(d.cost.widest, len(object))
	return object, d.end()
}

func (d *decoder) array(pointerLength int) (any, error) {
	array := []any{}
	for d.dec.More() {
		index := strconv.Itoa(len(array))
		d.path = append(d.path, index)
		v, err := d.value(pointerLength + len(index) + 1)
		if err != nil {
			return nil, err
		}
		d.path = d.path[:len(d.path)-1]
		array = append(array, v)
	}
	d.cost.widest = max(d.cost.widest, len(array))
	return array, d.end()
}

func (d *decoder) end() error {
	if _, err := d.dec.Token(); err != nil {
		return d.syntax(err)
	}
	return nil
}

// checkNumber says what is expected instead of a number, or nothing: the
// validator makes an exact fraction of it, with as many digits as its exponent.
func checkNumber(s string) string {
	if len(s) > maxNumberLength {
		return fmt.Sprintf("a number of at most %d characters", maxNumberLength)
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		if exp, err := strconv.Atoi(s[i+1:]); err != nil || exp > maxExponent || exp < -maxExponent {
			return fmt.Sprintf("a number whose exponent is between -%d and %d", maxExponent, maxExponent)
		}
	}
	return ""
}

// describe says what a value of an input is: its type, and the value of scalars.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return fmt.Sprintf("boolean %t", v)
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return "number " + shorten(v.String())
		}
		return "integer " + shorten(v.String())
	case string:
		return "string " + quoteShort(v)
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return fmt.Sprintf("%T", v)
}

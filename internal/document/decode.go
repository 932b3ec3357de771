package document

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"time"
)

// A Decoder reads a value of its own: it is used by [Decode] for types that implement
// it. Its error says what is expected.
type Decoder interface {
	Decode(n *Node) error
}

// Decode fills the struct that into points to from a mapping. Keys are those of the
// fields' yaml tags; what is not there, or null, leaves its field alone: that a pointer
// is nil tells so. The form of n was judged before, by a schema: a value of another type
// than its field's panics; what only Go can say (a number that is too large, the error of
// a [Decoder] or of an [encoding.TextUnmarshaler]) is told at the value. pointer is that
// of n.
func Decode(ps *Problems, n *Node, pointer string, into any) {
	decode(ps, n, pointer, reflect.ValueOf(into).Elem())
}

func decode(ps *Problems, n *Node, pointer string, v reflect.Value) {
	if n == nil || n.Kind == Null {
		return
	}
	var err error
	switch into := v.Addr().Interface().(type) {
	case Decoder:
		err = into.Decode(n)
	case encoding.TextUnmarshaler:
		err = into.UnmarshalText([]byte(n.Text))
	case *json.RawMessage:
		*into = n.JSON()
	case *time.Duration:
		*into, err = time.ParseDuration(n.Text)
	default:
		err = decodeKind(ps, n, pointer, v)
	}
	if err != nil {
		ps.At(n, pointer, "%v", err)
	}
}

func decodeKind(ps *Problems, n *Node, pointer string, v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Text)
	case reflect.Bool:
		v.SetBool(n.Text == "true")
	case reflect.Int:
		r, ok := new(big.Rat).SetString(n.Text)
		if !ok || !r.IsInt() || !r.Num().IsInt64() {
			return fmt.Errorf("expected a whole number, found %s", Short(n.Text))
		}
		v.SetInt(r.Num().Int64())
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		decode(ps, n, pointer, v.Elem())
	case reflect.Slice:
		list := reflect.MakeSlice(v.Type(), len(n.Items), len(n.Items))
		for i, item := range n.Items {
			decode(ps, item, fmt.Sprintf("%s/%d", pointer, i), list.Index(i))
		}
		v.Set(list)
	case reflect.Map:
		table := reflect.MakeMapWithSize(v.Type(), len(n.Items))
		for i, item := range n.Items {
			value := reflect.New(v.Type().Elem()).Elem()
			decode(ps, item, Below(pointer, n.Keys[i].Text), value)
			table.SetMapIndex(reflect.ValueOf(n.Keys[i].Text), value)
		}
		v.Set(table)
	case reflect.Struct:
		for field, value := range v.Fields() {
			if name, _, _ := strings.Cut(field.Tag.Get("yaml"), ","); name != "-" && name != "" {
				decode(ps, n.Get(name), Below(pointer, name), value)
			}
		}
	default:
		panic(fmt.Sprintf("%s: nothing reads a %s", pointer, v.Type())) // a test has each key
	}
	return nil
}

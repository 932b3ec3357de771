package content

import (
	"bytes"
	"encoding/json"
	"fmt"

	"toolhand/internal/tools"
)

// Collector takes in a handler's answer of any length and holds a bounded part
// of it: all of it up to the bound of the text, or up to [MaxStructured] where it
// may be an answer in blocks; beyond, its beginning and its end. It is used by
// one goroutine at a time.
type Collector struct {
	Max    int
	Total  int64
	head   []byte
	tail   Ending
	form   form
	tooBig bool // an answer in blocks, longer than MaxStructured
	misfit string
}

// form is what the first byte that is no space says about an answer.
type form int

const (
	undecided form = iota
	plain
	braced
)

// NewCollector makes a collector for a text of at most max bytes; zero means the
// default.
func NewCollector(max int) *Collector {
	if max <= 0 {
		max = DefaultMax
	}
	return &Collector{Max: max, tail: Ending{Max: max}}
}

// Write takes in p. It never fails.
func (c *Collector) Write(p []byte) (int, error) {
	n := len(p)
	c.Total += int64(n)
	if c.form == undecided {
		if first := bytes.TrimLeft(p, " \t\r\n"); len(first) > 0 {
			c.form = plain
			if first[0] == '{' {
				c.form = braced
			}
		}
	}
	if len(c.tail.kept) == 0 {
		room := c.limit() - len(c.head)
		if n <= room {
			c.head = append(c.head, p...)
			return n, nil
		}
		c.head = append(c.head, p[:max(room, 0)]...)
		p = p[max(room, 0):]
		c.overflow()
	}
	c.tail.Write(p)
	return n, nil
}

// limit is how many bytes are held whole.
func (c *Collector) limit() int {
	if c.form == braced {
		return max(MaxStructured, c.Max)
	}
	return c.Max
}

// overflow gives back what was held only because the answer might have been one
// in blocks.
func (c *Collector) overflow() {
	if c.form != braced {
		return
	}
	c.tooBig = beginsStructured(c.head)
	c.form = plain
	if len(c.head) > c.Max {
		c.tail.Write(c.head)
		c.head = append([]byte(nil), c.head[:c.Max]...)
	}
}

// Ending holds the last max bytes of what is written to it.
type Ending struct {
	Max  int
	kept []byte // at most twice max, of which the last max bytes count
}

// Write takes in p. It never fails.
func (e *Ending) Write(p []byte) (int, error) {
	n := len(p)
	p = p[max(0, n-e.Max):]
	if len(e.kept)+len(p) > 2*e.Max {
		e.kept = e.kept[:copy(e.kept, e.Last())]
	}
	e.kept = append(e.kept, p...)
	return n, nil
}

// Last is the end of what was written, at most Max bytes. It is valid until the next
// Write.
func (e *Ending) Last() []byte { return e.kept[max(0, len(e.kept)-e.Max):] }

// beginsStructured reports whether head, the beginning of an answer, is that of
// an object with an array "content".
func beginsStructured(head []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(head))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return false
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return false
		}
		if name == "content" {
			open, err := dec.Token()
			return err == nil && open == json.Delim('[')
		}
		var skipped json.RawMessage
		if dec.Decode(&skipped) != nil {
			return false
		}
	}
	return false
}

// Result is the answer as a result; isError marks it as a failure in any case.
func (c *Collector) Result(isError bool) tools.Result {
	if c.tooBig || c.form == braced && c.Total > MaxStructured && beginsStructured(c.head) {
		return Error(fmt.Sprintf("The tool answered with content blocks of %d bytes, and at most %d can be taken: answer with less, or with a link to it", c.Total, MaxStructured))
	}
	if c.form == braced {
		r, misfit, ok := structured(Valid(c.head), c.Max)
		if ok {
			r.IsError = r.IsError || isError
			return r
		}
		c.misfit = misfit
	}
	return tools.Result{Content: Encode([]any{TextBlock(c.text(c.Max))}), IsError: isError}
}

// Misfit says, after Result, why an answer that was meant as content blocks is none, such
// as "content[1].source: is missing". It shows nothing of the answer but names of keys.
// Empty: it is one, or was not meant as one.
func (c *Collector) Misfit() string { return c.misfit }

// text is the answer as text, of at most max bytes, which is not more than the
// collector's own bound.
func (c *Collector) text(max int) []byte {
	head, tail := Valid(c.head), c.tail.Last()
	gap := c.Total - int64(len(c.head)) - int64(len(tail))
	if gap == 0 {
		head, tail = Valid(append(c.head[:len(c.head):len(c.head)], tail...)), nil
	}
	if gap > 0 {
		whole := FromCharacter(tail)
		gap += int64(len(tail) - len(whole))
		tail = Valid(whole)
	}
	if gap == 0 && len(head) <= max {
		return head
	}
	begin, mark, end := Split(head, tail, gap, max)
	return append(append(append([]byte(nil), begin...), mark...), end...)
}

// Under is the answer as text below a line of ours, within the bound together.
func (c *Collector) Under(line string) string {
	return string(CutAfter([]byte(line), c.Max)) + string(c.text(max(c.Max-len(line), 0)))
}

// Above is the answer as text above a line of ours, within the bound together.
func (c *Collector) Above(line string) string {
	line = string(CutBefore([]byte(line), c.Max))
	text := string(c.text(c.Max - len(line)))
	if text != "" && text[len(text)-1] != '\n' && len(text)+len(line) < c.Max {
		text += "\n"
	}
	return text + line
}

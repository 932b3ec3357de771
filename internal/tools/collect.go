package tools

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// collector takes in a handler's answer of any length and holds a bounded part
// of it: all of it up to the bound of the text, or up to [MaxStructured] where it
// may be an answer in blocks; beyond, its beginning and its end. It is used by
// one goroutine at a time.
type collector struct {
	max    int
	total  int64
	head   []byte
	tail   ending
	form   form
	tooBig bool // an answer in blocks, longer than MaxStructured
}

// form is what the first byte that is no space says about an answer.
type form int

const (
	undecided form = iota
	plain
	braced
)

// newCollector makes a collector for a text of at most max bytes; zero means the
// default.
func newCollector(max int) *collector {
	if max <= 0 {
		max = defaultMaxResult
	}
	return &collector{max: max, tail: ending{max: max}}
}

// Write takes in p. It never fails.
func (c *collector) Write(p []byte) (int, error) {
	n := len(p)
	c.total += int64(n)
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
func (c *collector) limit() int {
	if c.form == braced {
		return max(MaxStructured, c.max)
	}
	return c.max
}

// overflow gives back what was held only because the answer might have been one
// in blocks.
func (c *collector) overflow() {
	if c.form != braced {
		return
	}
	c.tooBig = beginsStructured(c.head)
	c.form = plain
	if len(c.head) > c.max {
		c.tail.Write(c.head)
		c.head = append([]byte(nil), c.head[:c.max]...)
	}
}

// ending holds the last max bytes of what is written to it.
type ending struct {
	max  int
	kept []byte // at most twice max, of which the last max bytes count
}

// Write takes in p. It never fails.
func (e *ending) Write(p []byte) (int, error) {
	n := len(p)
	p = p[max(0, n-e.max):]
	if len(e.kept)+len(p) > 2*e.max {
		e.kept = e.kept[:copy(e.kept, e.last())]
	}
	e.kept = append(e.kept, p...)
	return n, nil
}

func (e *ending) last() []byte { return e.kept[max(0, len(e.kept)-e.max):] }

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

// result is the answer as a result; isError marks it as a failure in any case.
func (c *collector) result(isError bool) Result {
	if c.tooBig || c.form == braced && c.total > MaxStructured && beginsStructured(c.head) {
		return Error(fmt.Sprintf("The tool answered with content blocks of %d bytes, and at most %d can be taken: answer with less, or with a link to it", c.total, MaxStructured))
	}
	if c.form == braced {
		if r, ok := structured(valid(c.head), c.max); ok {
			r.IsError = r.IsError || isError
			return r
		}
	}
	return Result{Content: encode([]any{textBlock(c.text(c.max))}), IsError: isError}
}

// text is the answer as text, of at most max bytes, which is not more than the
// collector's own bound.
func (c *collector) text(max int) []byte {
	head, tail := valid(c.head), c.tail.last()
	gap := c.total - int64(len(c.head)) - int64(len(tail))
	if gap == 0 {
		head, tail = valid(append(c.head[:len(c.head):len(c.head)], tail...)), nil
	}
	if gap > 0 {
		whole := fromCharacter(tail)
		gap += int64(len(tail) - len(whole))
		tail = valid(whole)
	}
	if gap == 0 && len(head) <= max {
		return head
	}
	begin, mark, end := split(head, tail, gap, max)
	return append(append(append([]byte(nil), begin...), mark...), end...)
}

// under is the answer as text below a line of ours, within the bound together.
func (c *collector) under(line string) string {
	return string(cutAfter([]byte(line), c.max)) + string(c.text(max(c.max-len(line), 0)))
}

// above is the answer as text above a line of ours, within the bound together.
func (c *collector) above(line string) string {
	line = string(cutBefore([]byte(line), c.max))
	text := string(c.text(c.max - len(line)))
	if text != "" && text[len(text)-1] != '\n' && len(text)+len(line) < c.max {
		text += "\n"
	}
	return text + line
}

package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxFrame is the largest event that is read from a stream, in bytes. What is
// larger is passed over and reported as undecodable: the history still has it.
const maxFrame = 64 << 20

// keepFrame is the largest buffer that is kept between events, so that one
// large event does not cost a quiet session its memory for ever.
const keepFrame = 64 << 10

// errFrame is a frame of the type error: the API ends the stream with it.
var errFrame = errors.New("the API ended the stream with an error event")

// frames reads server-sent events (WHATWG HTML, 9.2.6) with every line ending,
// and forgives what is common: a byte order mark, a last event without a blank
// line, and data that is not JSON (told to the caller, not the end).
type frames struct {
	r      *bufio.Reader
	skipLF bool // the last line ended with CR: an LF right after it belongs to it
	begun  bool
	long   bool // the event in work is over maxFrame
	data   []byte
	event  []byte
	some   bool // a data field was seen
}

// newFrames reads with little memory of its own, since a quiet session keeps it:
// the connection below has a buffer, so that a read here is seldom a system call.
func newFrames(r io.Reader) *frames { return &frames{r: bufio.NewReaderSize(r, 1<<10)} }

var bom = []byte("\xef\xbb\xbf")

// next returns the data of the next event that has any; the bytes are valid
// until the next call. The second value is false for an event that was too long
// to keep.
func (f *frames) next() ([]byte, bool, error) {
	f.clear()
	for {
		line, err := f.line()
		if err != nil {
			if errors.Is(err, io.EOF) && f.some && (f.long || len(f.data) > 0) {
				return f.dispatch()
			}
			return nil, false, err
		}
		if len(line) > 0 {
			f.field(line)
			continue
		}
		if f.some && (f.long || len(f.data) > 0) {
			return f.dispatch()
		}
		f.clear()
	}
}

func (f *frames) dispatch() ([]byte, bool, error) {
	if bytes.Equal(f.event, []byte("error")) {
		return nil, false, fmt.Errorf("%w: %s", errFrame, shorten(string(f.data), maxEventError))
	}
	return f.data, !f.long, nil
}

func (f *frames) clear() {
	if cap(f.data) > keepFrame {
		f.data = nil
	}
	f.data, f.event, f.some, f.long = f.data[:0], f.event[:0], false, false
}

// field takes in one line that is not blank.
func (f *frames) field(line []byte) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "data":
		if f.some && len(f.data) > 0 {
			f.data = append(f.data, '\n')
		}
		f.some = true
		if len(f.data)+len(value) > maxFrame {
			f.long = true
		}
		if f.long {
			f.data = f.data[:0]
			return
		}
		f.data = append(f.data, value...)
	case "event":
		f.event = append(f.event[:0], value...)
	}
}

// line returns the next line without its end. It returns as soon as the end has
// come, without waiting for what may follow. A line beyond maxFrame keeps its
// beginning only.
func (f *frames) line() ([]byte, error) {
	var long []byte
	for {
		chunk, err := f.buffered()
		if err != nil {
			if errors.Is(err, io.EOF) && len(long) > 0 {
				return long, nil
			}
			return nil, err
		}
		i := bytes.IndexAny(chunk, "\r\n")
		if i >= 0 {
			f.skipLF = chunk[i] == '\r'
			line := chunk[:i]
			if long != nil {
				line = appendLine(long, line)
				f.markLong(line)
			}
			f.r.Discard(i + 1)
			return line, nil
		}
		long = appendLine(long, chunk)
		f.r.Discard(len(chunk))
	}
}

func (f *frames) markLong(line []byte) {
	if len(line) > maxFrame {
		f.long = true
	}
}

// appendLine grows a long line, and stops one byte beyond the bound.
func appendLine(long, more []byte) []byte {
	if room := maxFrame + 16 - len(long); len(more) > room {
		more = more[:max(0, room)]
	}
	return append(long, more...)
}

// buffered returns what has come and was not consumed, at least one byte.
func (f *frames) buffered() ([]byte, error) {
	for {
		if _, err := f.r.Peek(1); err != nil {
			return nil, err
		}
		chunk, _ := f.r.Peek(f.r.Buffered())
		if !f.begun {
			if len(chunk) < len(bom) && bytes.HasPrefix(bom, chunk) {
				if more, err := f.r.Peek(len(bom)); err == nil {
					chunk = more
				}
			}
			f.begun = true
			if bytes.HasPrefix(chunk, bom) {
				f.r.Discard(len(bom))
				continue
			}
		}
		if f.skipLF {
			f.skipLF = false
			if chunk[0] == '\n' {
				f.r.Discard(1)
				continue
			}
		}
		return chunk, nil
	}
}

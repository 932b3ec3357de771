package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// read reads all events of a stream; the error is what it ended with.
func read(r io.Reader) (events []string, end error) {
	f := newFrames(r)
	for {
		data, whole, err := f.next()
		if err != nil {
			return events, err
		}
		if !whole {
			events = append(events, "(too long)")
			continue
		}
		events = append(events, string(data))
	}
}

func TestFraming(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"nothing":                   {"", nil},
		"LF":                        {"data: a\n\ndata: b\n\n", []string{"a", "b"}},
		"CRLF":                      {"data: a\r\n\r\ndata: b\r\n\r\n", []string{"a", "b"}},
		"CR":                        {"data: a\r\rdata: b\r\r", []string{"a", "b"}},
		"mixed":                     {"data: a\r\n\ndata: b\n\rdata: c\r\n\r", []string{"a", "b", "c"}},
		"byte order mark":           {"\xef\xbb\xbfdata: a\n\n", []string{"a"}},
		"a mark further on":         {"data: a\n\n\xef\xbb\xbfdata: b\n\ndata: c\n\n", []string{"a", "c"}},
		"comments":                  {": hi\ndata: a\n:\n: there\n\n", []string{"a"}},
		"no space":                  {"data:a\n\n", []string{"a"}},
		"one space only":            {"data:  a\n\n", []string{" a"}},
		"lines":                     {"data: a\ndata: b\ndata:\ndata: c\n\n", []string{"a\nb\n\nc"}},
		"empty data":                {"data:\n\ndata\n\ndata: a\n\n", []string{"a"}},
		"empty data at the end":     {"data: a\n\ndata:\n", []string{"a"}},
		"an empty first line":       {"data:\ndata: b\n\n", []string{"b"}},
		"no data":                   {"event: x\n\nid: 1\n\ndata: a\n\n", []string{"a"}},
		"other fields":              {"retry: 1\nid: 2\nnew: 3\nbare\ndata: a\n\n", []string{"a"}},
		"no blank line at the end":  {"data: a\n\ndata: b\n", []string{"a", "b"}},
		"no line end at the end":    {"data: a\n\ndata: b", []string{"a", "b"}},
		"blank lines":               {"\n\n\ndata: a\n\n\n\n", []string{"a"}},
		"a field that begins alike": {"dataset: x\ndata: a\n\n", []string{"a"}},
		"event after data":          {"data: a\nevent: x\n\n", []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{
				"whole":         strings.NewReader(c.in),
				"byte by byte":  iotest.OneByteReader(strings.NewReader(c.in)),
				"half by half":  iotest.HalfReader(strings.NewReader(c.in)),
				"data with EOF": iotest.DataErrReader(strings.NewReader(c.in)),
			} {
				got, err := read(r)
				if !slices.Equal(got, c.want) || !errors.Is(err, io.EOF) {
					t.Errorf("%s: %q, %v; want %q", how, got, err, c.want)
				}
			}
		})
	}
}

func TestErrorFrameEndsTheStream(t *testing.T) {
	got, err := read(strings.NewReader("data: a\n\nevent: error\ndata: {\"type\":\"error\"}\n\ndata: b\n\n"))
	if !slices.Equal(got, []string{"a"}) || !errors.Is(err, errFrame) {
		t.Errorf("%q, %v", got, err)
	}
}

// An event is given out as soon as its blank line has come: nothing is waited
// for beyond it, not even the LF of a CRLF.
func TestEventDoesNotWaitForWhatFollows(t *testing.T) {
	for _, end := range []string{"\n\n", "\r\r", "\r\n\r"} {
		r, w := io.Pipe()
		go fmt.Fprint(w, "data: a"+end)
		data, _, err := newFrames(r).next()
		if string(data) != "a" || err != nil {
			t.Errorf("%q, %v", data, err)
		}
		w.Close()
	}
}

// An error in the middle of an event is no end of it: half an event is none.
func TestBrokenStreamGivesNoHalfEvent(t *testing.T) {
	broken := errors.New("reset")
	got, err := read(io.MultiReader(strings.NewReader("data: a\n\ndata: b\n"), iotest.ErrReader(broken)))
	if !slices.Equal(got, []string{"a"}) || !errors.Is(err, broken) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestLargeEvents(t *testing.T) {
	for _, c := range []struct {
		name string
		in   func() io.Reader
		want []int // sizes; -1: too long
	}{
		{"33 MiB", func() io.Reader { return huge(33 << 20) }, []int{33 << 20, 1}},
		{"too long", func() io.Reader { return huge(maxFrame + 1<<20) }, []int{-1, 1}},
		{"too long in lines", func() io.Reader {
			line := "data: " + strings.Repeat("x", 1<<20) + "\n"
			return strings.NewReader(strings.Repeat(line, 70) + "\ndata: y\n\n")
		}, []int{-1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFrames(c.in())
			for i, want := range c.want {
				data, whole, err := f.next()
				if err != nil || whole != (want >= 0) || whole && len(data) != want {
					t.Fatalf("event %d: %d bytes, whole %t, %v; want %d", i, len(data), whole, err, want)
				}
			}
			if f.next(); cap(f.data) > keepFrame {
				t.Errorf("%d bytes are kept for a quiet session", cap(f.data))
			}
		})
	}
}

func huge(n int) io.Reader {
	return io.MultiReader(strings.NewReader("data: "), io.LimitReader(endless{}, int64(n)), strings.NewReader("\n\ndata: y\n\n"))
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// chunked gives its bytes in pieces of the sizes named, over and over.
type chunked struct {
	data  []byte
	sizes []byte
	n     int
}

func (c *chunked) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	size := 1
	if len(c.sizes) > 0 {
		size = int(c.sizes[c.n%len(c.sizes)]%16) + 1
		c.n++
	}
	n := copy(p, c.data[:min(size, len(c.data))])
	c.data = c.data[n:]
	return n, nil
}

// FuzzFrames: whatever comes, in whatever pieces, gives the same events, and
// none of them holds a CR or is empty.
func FuzzFrames(f *testing.F) {
	for _, s := range []string{"data: a\n\n", "data: a\r\n\r\ndata: b\r\r", "\xef\xbb\xbfdata: a\n\n", "\xef\xbbdata: a\n\n",
		"event: error\ndata: x\n\n", "data: a\ndata: b", ":c\r\n\ndata\n\n", "\r\n\r\ndata:a\r"} {
		f.Add([]byte(s), []byte{0, 3, 1})
	}
	f.Fuzz(func(t *testing.T, data, sizes []byte) {
		want, wantErr := read(bytes.NewReader(data))
		got, gotErr := read(&chunked{data: data, sizes: sizes})
		if !slices.Equal(got, want) || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
			t.Errorf("whole: %q %v; in pieces: %q %v", want, wantErr, got, gotErr)
		}
		for _, e := range want {
			if e == "" || strings.Contains(e, "\r") {
				t.Errorf("event %q", e)
			}
		}
	})
}

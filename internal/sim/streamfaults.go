package sim

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// Frame is one frame of a stream as the server wrote it.
type Frame struct {
	// Type is the name of its event, empty where it has none.
	Type string
	// Bytes are the whole frame, the blank line at its end included.
	Bytes []byte
}

// Frames makes an Action of a stream out of a function that gets each frame,
// heartbeats too, and returns what goes out in its place. The function is made
// anew for each stream, so that it may keep a state; it is called by one
// goroutine. An error of [ErrEOF] or [ErrReset] ends the stream after what was
// returned with it.
func Frames(begin func() func(Frame) ([][]byte, error)) Action {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&frameWriter{ResponseWriter: w, each: begin()}, r)
		})
	}
}

// Ends of a stream that a function of [Frames] returns.
var (
	ErrEOF   = errors.New("end of the stream")
	ErrReset = errors.New("reset of the stream")
)

type frameWriter struct {
	http.ResponseWriter
	each func(Frame) ([][]byte, error)
}

// Unwrap serves http.ResponseController.
func (w *frameWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *frameWriter) Write(p []byte) (int, error) {
	f := Frame{Bytes: p}
	if rest, found := bytes.CutPrefix(p, []byte("event: ")); found {
		typ, _, _ := bytes.Cut(rest, []byte("\n"))
		f.Type = string(typ)
	}
	out, end := w.each(f)
	for _, b := range out {
		if _, err := w.ResponseWriter.Write(b); err != nil {
			return 0, err
		}
		if err := flush(w.ResponseWriter); err != nil {
			return 0, err
		}
	}
	if errors.Is(end, ErrReset) {
		breakOff(w.ResponseWriter)
	}
	if end != nil {
		return 0, end
	}
	return len(p), nil
}

// stateless makes Frames of a function that keeps nothing.
func stateless(each func(Frame) ([][]byte, error)) Action {
	return Frames(func() func(Frame) ([][]byte, error) { return each })
}

// Stall opens the stream and never writes a byte.
func Stall() Action {
	return stateless(func(Frame) ([][]byte, error) { return nil, nil })
}

// HeartbeatsOnly opens the stream and writes nothing but heartbeats.
func HeartbeatsOnly() Action {
	return Withhold(func(typ string) bool { return true })
}

// Withhold leaves out the events whose type withheld reports; heartbeats go on.
func Withhold(withheld func(typ string) bool) Action {
	return stateless(func(f Frame) ([][]byte, error) {
		if f.Type != "ping" && withheld(f.Type) {
			return nil, nil
		}
		return [][]byte{f.Bytes}, nil
	})
}

// WithholdTypes is Withhold for the types named.
func WithholdTypes(types ...string) Action {
	return Withhold(func(typ string) bool { return slices.Contains(types, typ) })
}

// CutAfter ends the stream after n events: with [ErrEOF] or [ErrReset]. Zero
// ends it in place of the first event.
func CutAfter(n int, end error) Action {
	return Frames(func() func(Frame) ([][]byte, error) {
		left := n
		return func(f Frame) ([][]byte, error) {
			if f.Type == "ping" {
				return [][]byte{f.Bytes}, nil
			}
			if left--; left < 0 {
				return nil, end
			}
			if left == 0 {
				return [][]byte{f.Bytes}, end
			}
			return [][]byte{f.Bytes}, nil
		}
	})
}

// Duplicate writes every frame twice.
func Duplicate() Action {
	return stateless(func(f Frame) ([][]byte, error) { return [][]byte{f.Bytes, f.Bytes}, nil })
}

// Reorder holds back events until n have come, then writes them newest first.
// A heartbeat lets out those that are held.
func Reorder(n int) Action {
	return Frames(func() func(Frame) ([][]byte, error) {
		var held [][]byte
		return func(f Frame) ([][]byte, error) {
			if f.Type != "ping" {
				held = append(held, bytes.Clone(f.Bytes))
				if len(held) < n {
					return nil, nil
				}
			}
			out := held
			held = nil
			slices.Reverse(out)
			if f.Type == "ping" {
				out = append(out, f.Bytes)
			}
			return out, nil
		}
	})
}

// Rewrite passes each frame through a function of its text.
func Rewrite(change func(frame string) string) Action {
	return stateless(func(f Frame) ([][]byte, error) { return [][]byte{[]byte(change(string(f.Bytes)))}, nil })
}

// Before writes bytes in front of the first frame: a byte order mark, a comment.
func Before(text string) Action {
	return Frames(func() func(Frame) ([][]byte, error) {
		first := true
		return func(f Frame) ([][]byte, error) {
			if !first {
				return [][]byte{f.Bytes}, nil
			}
			first = false
			return [][]byte{append([]byte(text), f.Bytes...)}, nil
		}
	})
}

// NoBlankLine ends the stream after the n-th event, whose blank line is missing.
func NoBlankLine(n int) Action {
	return Frames(func() func(Frame) ([][]byte, error) {
		left := n
		return func(f Frame) ([][]byte, error) {
			if f.Type == "ping" {
				return [][]byte{f.Bytes}, nil
			}
			if left--; left > 0 {
				return [][]byte{f.Bytes}, nil
			}
			return [][]byte{bytes.TrimSuffix(f.Bytes, []byte("\n"))}, ErrEOF
		}
	})
}

// CRLF ends the lines of the stream with CR and LF.
func CRLF() Action {
	return Rewrite(func(f string) string { return strings.ReplaceAll(f, "\n", "\r\n") })
}

// CROnly ends the lines of the stream with CR alone.
func CROnly() Action {
	return Rewrite(func(f string) string { return strings.ReplaceAll(f, "\n", "\r") })
}

// BOM begins the stream with a byte order mark.
func BOM() Action { return Before("\ufeff") }

// Comments puts a comment in front of each line but the last.
func Comments() Action {
	return Rewrite(func(f string) string {
		return ": a comment\n" + strings.ReplaceAll(strings.TrimSuffix(f, "\n"), "\n", "\n:another: one\n") + "\n"
	})
}

// NoSpace leaves out the space after a field's colon.
func NoSpace() Action {
	return Rewrite(func(f string) string {
		lines := strings.Split(f, "\n")
		for i, line := range lines {
			if name, value, found := strings.Cut(line, ": "); found && !strings.ContainsAny(name, "{\"") {
				lines[i] = name + ":" + value
			}
		}
		return strings.Join(lines, "\n")
	})
}

// MultiLine breaks an event's JSON into two data lines, in front of its id.
func MultiLine() Action {
	return Rewrite(func(f string) string { return strings.Replace(f, `,"id":`, ",\ndata: \"id\":", 1) })
}

// NoEventField leaves out the event lines, so that only the data tell the type.
// Heartbeats keep theirs.
func NoEventField() Action {
	return Rewrite(func(f string) string {
		if strings.HasPrefix(f, "event: ping\n") {
			return f
		}
		_, rest, _ := strings.Cut(f, "\n")
		return rest
	})
}

// ErrorFrame writes an `event: error` in place of the n-th event (from 1), as
// the API does when a stream fails; the stream stays open.
func ErrorFrame(n int) Action {
	body := errorBody("overloaded_error", "Overloaded", "req_sim")
	return Frames(func() func(Frame) ([][]byte, error) {
		count := 0
		return func(f Frame) ([][]byte, error) {
			if f.Type != "ping" {
				if count++; count == n {
					return [][]byte{frame{typ: "error", data: body}.bytes()}, nil
				}
			}
			return [][]byte{f.Bytes}, nil
		}
	})
}

// Oddities writes, in front of each event, what a client has to ignore: an
// unknown type, an empty data line, a frame without data, unknown fields, a
// retry, a preview.
func Oddities() Action {
	noise := "event: agent.dreams\ndata: {\"type\":\"agent.dreams\",\"id\":\"sevt_odd\",\"of\":[1e400]}\n\n" +
		"event: agent.message\ndata:\n\n" +
		"event: agent.message\n\n" +
		"retry: 10\nid: 7\nunknown: field\nbare\n\n" +
		"event: event_start\ndata: {\"type\":\"event_start\",\"event\":{\"type\":\"agent.message\",\"id\":\"sevt_odd\"}}\n\n" +
		"event: event_delta\ndata: {\"type\":\"event_delta\",\"event_id\":\"sevt_odd\",\"delta\":{\"type\":\"content_delta\",\"index\":0,\"content\":{\"type\":\"text\",\"text\":\"a\"}}}\n\n"
	return Rewrite(func(f string) string { return noise + f })
}

// BadJSON writes a frame whose JSON is broken in front of each event.
func BadJSON() Action {
	return Rewrite(func(f string) string { return "event: agent.custom_tool_use\ndata: {\"type\":\"agent.cus\n\n" + f })
}

// HugeLine writes a message of n bytes on one line in front of the first event.
// 33<<20 is more than the official SDK's decoder bears.
func HugeLine(n int) Action {
	return Before("event: agent.message\ndata: {\"type\":\"agent.message\",\"id\":\"sevt_huge\"," +
		"\"processed_at\":\"2026-01-01T00:00:00Z\",\"content\":[{\"type\":\"text\",\"text\":\"" +
		strings.Repeat("x", n) + "\"}]}\n\n")
}

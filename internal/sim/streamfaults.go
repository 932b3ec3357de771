package sim

import (
	"bytes"
	"errors"
	"net/http"
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

// Duplicate writes every frame twice.
func Duplicate() Action {
	return stateless(func(f Frame) ([][]byte, error) { return [][]byte{f.Bytes, f.Bytes}, nil })
}

package handlertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// A Behaviour is what the other end does with a call.
type Behaviour string

// What an other end can be asked to do.
const (
	Echo    Behaviour = "echo"    // answers with the input
	Meta    Behaviour = "meta"    // answers with About, as JSON
	Fail    Behaviour = "fail"    // answers "it failed", as a failure
	Blocks  Behaviour = "blocks"  // answers with content blocks, is_error among them
	Empty   Behaviour = "empty"   // answers with nothing
	Invalid Behaviour = "invalid" // answers with what is no UTF-8
	Huge    Behaviour = "huge"    // answers with Size bytes of text, "begin" first and "end" last
	Bulky   Behaviour = "bulky"   // answers with content blocks that are too large to be taken
	Silent  Behaviour = "silent"  // never answers
	Trickle Behaviour = "trickle" // answers with a byte now and then, without end
	Endless Behaviour = "endless" // answers with all it can, without end
	Lose    Behaviour = "lose"    // takes the call and breaks off: the kind's own part does that
)

// Size is how many bytes Huge answers with, at most.
const Size = 100 << 20

// ErrFailed is what Serve returns for Fail: the kind's own part tells it as its
// kind does.
var ErrFailed = errors.New("it failed")

// About is what an other end was told about a call.
type About struct {
	Tool, ID, Session, Thread string
	// Deadline as it was told.
	Deadline string
}

// Serve is the other end of every kind. size bounds what Huge writes, in bytes;
// zero means Size.
func Serve(ctx context.Context, b Behaviour, about About, in io.Reader, out io.Writer, size int) error {
	switch b {
	case Silent:
		<-ctx.Done()
		return context.Cause(ctx)
	case Trickle:
		return trickle(ctx, out)
	}
	input, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	switch b {
	case Echo:
		_, err = out.Write(input)
	case Meta:
		err = json.NewEncoder(out).Encode(about)
	case Fail:
		_, err = io.WriteString(out, "it failed")
		err = errors.Join(ErrFailed, err)
	case Blocks:
		_, err = io.WriteString(out, `{"content": [{"type": "text", "text": "a <b> & c"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}}], "is_error": true}`)
	case Invalid:
		_, err = io.WriteString(out, "a\xff\xfeb")
	case Huge:
		err = huge(out, size)
	case Bulky:
		_, err = io.WriteString(out, `{"content": [{"type": "text", "text": "`+strings.Repeat("x", 9<<20)+`"}]}`)
	case Endless:
		for err == nil && ctx.Err() == nil {
			_, err = io.WriteString(out, chunk())
		}
	case Empty:
	default:
		err = fmt.Errorf("no such behaviour: %q", b)
	}
	return err
}

func chunk() string { return strings.Repeat("0123456789abcdef", 4096) }

func huge(out io.Writer, size int) error {
	if size == 0 {
		size = Size
	}
	if _, err := io.WriteString(out, "begin"); err != nil {
		return err
	}
	piece := chunk()
	for left := size - len("begin") - len("end"); left > 0; left -= len(piece) {
		if _, err := io.WriteString(out, piece[:min(left, len(piece))]); err != nil {
			return err
		}
	}
	_, err := io.WriteString(out, "end")
	return err
}

// flusher is what an http.ResponseWriter offers.
type flusher interface{ Flush() }

func trickle(ctx context.Context, out io.Writer) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := io.WriteString(out, "."); err != nil {
			return err
		}
		if f, ok := out.(flusher); ok {
			f.Flush()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

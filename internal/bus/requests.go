package bus

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	// maxLine bounds a line of the protocol, in bytes; the server takes 4096.
	maxLine = 16 << 10
	// reserved begins the subjects that the server refuses as reply subjects.
	reserved = "_R_."
)

// errProtocol says that a client breaks the protocol of NATS.
var errProtocol = errors.New("no protocol of NATS")

// requests is what one client sends on its way to the server. Its fields belong to the
// goroutine of forward.
type requests struct {
	in  *bufio.Reader
	out *bufio.Writer
	// inbox is what the client's own inboxes begin with; empty before its CONNECT.
	inbox string
}

// forward passes on what a client sends until one side ends. What it can't read ends
// it: nothing gets to the server that the server could understand in another way. Each
// message that names a reply subject outside of the client's own inboxes gets one that
// the server refuses, and tells the client so.
func forward(server io.Writer, client io.Reader) error {
	out := bufio.NewWriterSize(server, maxLine)
	r := &requests{in: bufio.NewReaderSize(flushing{client, out}, maxLine), out: out}
	for {
		line, err := r.in.ReadSlice('\n')
		if err == nil {
			err = r.operation(bytes.TrimSuffix(line[:len(line)-1], []byte("\r")))
		}
		if err != nil {
			return errors.Join(err, out.Flush())
		}
	}
}

// flushing flushes w before it waits for more.
type flushing struct {
	io.Reader
	w *bufio.Writer
}

// Read implements io.Reader.
func (f flushing) Read(p []byte) (int, error) {
	if err := f.w.Flush(); err != nil {
		return 0, err
	}
	return f.Reader.Read(p)
}

// operation passes one operation on.
func (r *requests) operation(line []byte) error {
	if bytes.IndexByte(line, '\r') >= 0 {
		return errProtocol
	}
	verb, rest := line, ""
	if i := bytes.IndexAny(line, " \t"); i >= 0 {
		verb, rest = line[:i], string(line[i+1:])
	}
	switch op := strings.ToUpper(string(verb)); op {
	case "PUB", "HPUB":
		return r.message(op, strings.FieldsFunc(rest, func(c rune) bool { return c == ' ' || c == '\t' }))
	case "CONNECT":
		if err := r.connect(rest); err != nil {
			return err
		}
	case "SUB", "UNSUB", "PING", "PONG":
	default:
		return errProtocol
	}
	return r.write(line)
}

// connect learns the client's own inbox.
func (r *requests) connect(arg string) error {
	var shown struct {
		User string `json:"user"`
	}
	if r.inbox != "" {
		return fmt.Errorf("%w: a second CONNECT", errProtocol)
	}
	if err := json.Unmarshal([]byte(arg), &shown); err != nil {
		return fmt.Errorf("%w: CONNECT: %w", errProtocol, err)
	}
	r.inbox = defaultInbox
	if clientName.MatchString(shown.User) {
		r.inbox = inboxOf(shown.User)
	}
	return nil
}

// message passes a message on: PUB subject [reply] size, or HPUB subject [reply] headers
// size.
func (r *requests) message(op string, args []string) error {
	sizes := 1
	if op == "HPUB" {
		sizes = 2
	}
	if len(args) != 1+sizes && len(args) != 2+sizes {
		return errProtocol
	}
	for i, arg := range args[len(args)-sizes:] {
		size, err := strconv.ParseUint(arg, 10, 31)
		if err != nil {
			return fmt.Errorf("%w: %w", errProtocol, err)
		}
		args[len(args)-sizes+i] = strconv.FormatUint(size, 10)
	}
	if len(args) == 2+sizes && !r.own(args[1]) {
		args[1] = reserved + args[1]
	}
	if err := r.write([]byte(op + " " + strings.Join(args, " "))); err != nil {
		return err
	}
	size, err := strconv.Atoi(args[len(args)-1])
	if err != nil {
		return err
	}
	return r.payload(size)
}

// own reports whether a client may be answered on a subject.
func (r *requests) own(reply string) bool {
	return strings.HasPrefix(reply, defaultInbox+".") || r.inbox != "" && strings.HasPrefix(reply, r.inbox+".")
}

// payload passes size bytes on, and the end of the line after them.
func (r *requests) payload(size int) error {
	for size > 0 {
		if _, err := r.in.Peek(1); err != nil {
			return err
		}
		part, err := r.in.Peek(min(size, r.in.Buffered()))
		if err != nil {
			return err
		}
		if _, err := r.out.Write(part); err != nil {
			return err
		}
		n, err := r.in.Discard(len(part))
		if err != nil {
			return err
		}
		size -= n
	}
	end, err := r.in.Peek(2)
	if err != nil {
		return err
	}
	if string(end) != "\r\n" {
		return errProtocol
	}
	if _, err := r.in.Discard(2); err != nil {
		return err
	}
	return r.write(nil)
}

func (r *requests) write(line []byte) error {
	if _, err := r.out.Write(line); err != nil {
		return err
	}
	_, err := r.out.WriteString("\r\n")
	return err
}

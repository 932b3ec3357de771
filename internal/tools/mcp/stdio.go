package mcp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"time"
	"toolhand/internal/tools/content"
	toolexec "toolhand/internal/tools/exec"
	"toolhand/internal/tools/proctree"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

const (
	// maxFrame bounds a message of a server, in bytes. It is more than
	// MaxStructured, so that what is too large for a result can still be told so.
	maxFrame = 16 << 20
	// maxStray bounds the lines in a row that are no message. Who writes more does
	// not speak the protocol.
	maxStray = 10_000
	// maxLogLine bounds what one line of a server's takes in the log, in bytes.
	maxLogLine = 2 << 10
	// writeBound is how long a server may leave its input unread.
	writeBound = 30 * time.Second
	// exitGrace is what a server gets to end by itself at the end of its input,
	// before it gets SIGTERM.
	exitGrace = 500 * time.Millisecond
)

// stdio is the connection to a server that is a program: a message a line. Its
// methods keep to the terms of mcp.Connection. A write is queued, and done by one
// goroutine: so nobody but that goroutine ever waits for a server that does not
// read, and no message is cut off in its middle by a call that is cancelled.
type stdio struct {
	proc   *proctree.Process
	in     *os.File // the server's standard input
	out    *os.File // its output
	errs   *os.File // and its errors
	frames chan frame
	unread time.Duration // how long the server may leave its input unread
	log    *slog.Logger

	ctx    context.Context // ends when the connection is over
	cancel context.CancelCauseFunc
	gone   chan struct{} // closed when nothing of the server runs any more

	lines *bufio.Reader     // owned by Read
	rest  []jsonrpc.Message // of a batch; owned by Read
	eof   chan struct{}     // closed by Read at the end of the output
	stray int               // lines in a row; owned by Read

	said  sync.Mutex
	words content.Ending // guarded by said: the end of what the server wrote to stderr
}

type frame struct {
	data   []byte
	flight *flight // nil: nobody's
}

// startStdio starts the program of e. ctx bounds the start alone.
func startStdio(ctx context.Context, all *Servers, e *endpoint, log *slog.Logger) (*stdio, error) {
	mark := all.procs.ServerMark(all.started.Add(1))
	c := &stdio{log: log, unread: all.write, frames: make(chan frame, 64), gone: make(chan struct{}), eof: make(chan struct{}), words: content.Ending{Max: maxLogLine}}
	cmd := e.command(mark)
	theirs, err := c.pipes(cmd)
	if err == nil {
		c.proc, err = all.procs.Start(ctx, cmd, []string{mark}, log)
	}
	for _, f := range theirs {
		f.Close()
	}
	if err != nil {
		for _, f := range []*os.File{c.in, c.out, c.errs} {
			if f != nil {
				f.Close()
			}
		}
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.lines = bufio.NewReaderSize(c.out, 64<<10)
	go c.supervise()
	return c, nil
}

// pipes are the standard streams of cmd. They are files, and not os/exec's own
// goroutines, so that they have deadlines.
func (c *stdio) pipes(cmd *exec.Cmd) (theirs []*os.File, err error) {
	inTheirs, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	theirs, c.in, cmd.Stdin = append(theirs, inTheirs), in, inTheirs
	out, outTheirs, err := os.Pipe()
	if err != nil {
		return theirs, err
	}
	theirs, c.out, cmd.Stdout = append(theirs, outTheirs), out, outTheirs
	errs, errsTheirs, err := os.Pipe()
	if err != nil {
		return theirs, err
	}
	theirs, c.errs, cmd.Stderr = append(theirs, errsTheirs), errs, errsTheirs
	return theirs, nil
}

// supervise waits for the end of the program or of the connection, whichever is
// first, and stops what is left of the other. It launches and joins the other
// goroutines of the connection.
func (c *stdio) supervise() {
	defer close(c.gone)
	var beside sync.WaitGroup
	beside.Go(c.write)
	beside.Go(c.listen)
	if c.proc.Wait(c.ctx) {
		select {
		case <-c.eof: // what it wrote last is read first
		case <-c.ctx.Done():
		case <-time.After(toolexec.DrainDelay):
		}
		c.fail(fmt.Errorf("the server ended: %s", c.proc.Cmd.ProcessState))
	}
	c.in.Close()
	select {
	case <-c.proc.Done:
	case <-time.After(exitGrace):
	}
	c.proc.End()
	c.out.Close()
	// A process that is beyond our reach may hold this open.
	_ = c.errs.SetReadDeadline(time.Now().Add(toolexec.DrainDelay))
	beside.Wait()
	c.errs.Close()
}

// fail ends the connection for a reason, of which the first counts.
func (c *stdio) fail(err error) {
	c.cancel(err)
	_ = c.out.SetReadDeadline(time.Unix(1, 0))
	_ = c.in.SetWriteDeadline(time.Unix(1, 0))
}

var errClosed = errors.New("the connection was closed")

// Close ends the connection, and soon afterwards the program.
func (c *stdio) Close() error {
	c.fail(errClosed)
	return nil
}

// SessionID is empty: one program has one session.
func (c *stdio) SessionID() string { return "" }

// Write queues a message.
func (c *stdio) Write(ctx context.Context, msg jsonrpc.Message) error {
	data, err := jsonrpc.EncodeMessage(msg)
	if err != nil {
		return err
	}
	select {
	case c.frames <- frame{data: append(data, '\n'), flight: flightOf(ctx)}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

// write writes what is queued until the connection is over.
func (c *stdio) write() {
	for {
		select {
		case f := <-c.frames:
			if f.flight != nil && !f.flight.depart() {
				continue
			}
			_ = c.in.SetWriteDeadline(time.Now().Add(c.unread))
			if c.ctx.Err() != nil {
				return
			}
			if _, err := c.in.Write(f.data); err != nil {
				c.broken(err)
				return
			}
		case <-c.ctx.Done():
			return
		}
	}
}

// broken ends the connection after a failed write. The end of the program, where
// that is the reason, tells more: it gets a moment to be noticed.
func (c *stdio) broken(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("the server left its input unread for %v", c.unread)
	} else {
		select {
		case <-c.ctx.Done():
		case <-time.After(toolexec.DrainDelay):
		}
	}
	c.fail(err)
}

// Read reads the next message. Lines that are none are skipped.
func (c *stdio) Read(context.Context) (jsonrpc.Message, error) {
	for {
		if len(c.rest) > 0 {
			msg := c.rest[0]
			c.rest = c.rest[1:]
			return msg, nil
		}
		line, err := c.line()
		if err != nil {
			return nil, c.ended(err)
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if c.rest, err = decodeFrame(line); err == nil {
			c.stray = 0
			continue
		}
		if c.stray++; c.stray > maxStray {
			c.fail(fmt.Errorf("the server wrote %d lines that are no messages", maxStray))
		}
		if c.stray == 1 {
			c.log.Warn("an MCP server writes to its standard output what is no message: it is skipped")
		}
		c.log.Debug("no message", "line", string(content.CutAfter(content.Valid(line), maxLogLine)))
	}
}

// ended is the reason why there is nothing to read any more.
func (c *stdio) ended(err error) error {
	if c.ctx.Err() == nil && errors.Is(err, io.EOF) {
		// The program's end, where it comes with this, tells more.
		close(c.eof)
		select {
		case <-c.ctx.Done():
		case <-time.After(toolexec.DrainDelay):
			err = errors.New("the server closed its standard output")
		}
	}
	c.fail(err)
	return context.Cause(c.ctx)
}

// line is the next line, of at most maxFrame bytes.
func (c *stdio) line() ([]byte, error) {
	var line []byte
	for {
		piece, err := c.lines.ReadSlice('\n')
		if len(line)+len(piece) > maxFrame {
			return nil, fmt.Errorf("the server wrote a message of more than %d bytes", maxFrame)
		}
		line = append(line, piece...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// decodeFrame reads one message, or a batch of them as one version of the
// protocol had it.
func decodeFrame(line []byte) ([]jsonrpc.Message, error) {
	line = content.Valid(line)
	if line[0] != '[' {
		msg, err := jsonrpc.DecodeMessage(line)
		return []jsonrpc.Message{msg}, err
	}
	var batch []json.RawMessage
	if err := json.Unmarshal(line, &batch); err != nil {
		return nil, err
	}
	var all []jsonrpc.Message
	for _, one := range batch {
		msg, err := jsonrpc.DecodeMessage(one)
		if err != nil {
			return nil, err
		}
		all = append(all, msg)
	}
	return all, nil
}

// listen takes the server's words for people to the log, a bounded part of each
// line, and keeps the last of them.
func (c *stdio) listen() {
	lines := bufio.NewReaderSize(c.errs, maxLogLine)
	for whole := true; ; {
		line, more, err := lines.ReadLine()
		if err != nil {
			return
		}
		if whole {
			c.log.Debug("the MCP server wrote to stderr", "stderr", string(content.Valid(line)))
		}
		whole = !more
		c.said.Lock()
		c.words.Write(append(line[:len(line):len(line)], '\n'))
		c.said.Unlock()
	}
}

// lastWords is the end of what the server wrote to stderr.
func (c *stdio) lastWords() string {
	c.said.Lock()
	defer c.said.Unlock()
	return string(content.Valid(bytes.TrimSpace(c.words.Last())))
}

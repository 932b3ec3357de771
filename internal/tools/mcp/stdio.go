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
	"regexp"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/tidwall/gjson"

	"toolhand/internal/tools/content"
	toolexec "toolhand/internal/tools/exec"
	"toolhand/internal/tools/proctree"
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
	// maxLine bounds what is skipped of a line that has more than maxFrame bytes. Who
	// goes on does not write lines.
	maxLine = 32 * maxFrame
	// exitGrace is what a server gets to end by itself at the end of its input,
	// before it gets SIGTERM.
	exitGrace = 500 * time.Millisecond
)

// A stdioTransport is the connection to a server that is a program: a message a line.
// A write is queued, and done by one goroutine: so nobody but that goroutine waits for
// a server that does not read for longer than a call of theirs may take, and no message
// is cut off in its middle by a call that is cancelled.
type stdioTransport struct {
	proc   *proctree.Process
	stdin  *os.File
	stdout *os.File
	stderr *os.File
	queue  chan line
	log    *slog.Logger
	client *client

	ctx  context.Context // the client's
	end  context.CancelCauseFunc
	told chan struct{} // closed at the end of stderr
	gone chan struct{} // closed when nothing of the server runs any more

	lines *bufio.Reader     // owned by Read
	rest  []jsonrpc.Message // of a batch; owned by Read
	eof   chan struct{}     // closed by Read at the end of the output
	stray int               // lines in a row; owned by Read
}

// A line is a message to be written.
type line struct {
	data    []byte
	request *request // nil: it is none of ours
}

// startStdio starts the program of c's server.
func startStdio(c *client) (*stdioTransport, error) {
	owner, log := c.server.owner, c.server.log
	mark := owner.procs.ServerMark(owner.started.Add(1))
	t := &stdioTransport{log: log, client: c, queue: make(chan line, 64), ctx: c.ctx, end: c.end, told: make(chan struct{}), gone: make(chan struct{}), eof: make(chan struct{})}
	cmd := c.server.endpoint.command(mark)
	theirs, err := t.pipes(cmd)
	if err == nil {
		if t.proc, err = owner.procs.Start(c.ctx, cmd, []string{mark}, log); err != nil {
			err = toolexec.Refused(err, cmd.Path, cmd.Dir, cmd.SysProcAttr.Credential == nil)
		}
	}
	for _, f := range theirs {
		f.Close()
	}
	if err != nil {
		for _, f := range []*os.File{t.stdin, t.stdout, t.stderr} {
			if f != nil {
				f.Close()
			}
		}
		return nil, err
	}
	t.lines = bufio.NewReaderSize(t.stdout, 64<<10)
	go t.supervise()
	return t, nil
}

// pipes are the standard streams of cmd. They are files, and not os/exec's own
// goroutines, so that they have deadlines.
func (t *stdioTransport) pipes(cmd *exec.Cmd) (theirs []*os.File, err error) {
	in, ours, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	theirs, t.stdin, cmd.Stdin = append(theirs, in), ours, in
	ours, out, err := os.Pipe()
	if err != nil {
		return theirs, err
	}
	theirs, t.stdout, cmd.Stdout = append(theirs, out), ours, out
	ours, errs, err := os.Pipe()
	if err != nil {
		return theirs, err
	}
	theirs, t.stderr, cmd.Stderr = append(theirs, errs), ours, errs
	return theirs, nil
}

// supervise waits for the end of the program or of the connection, whichever is
// first, and stops what is left of the other. It launches and joins the other
// goroutines of the connection.
func (t *stdioTransport) supervise() {
	defer close(t.gone)
	var beside sync.WaitGroup
	beside.Go(t.writeQueue)
	beside.Go(t.logStderr)
	if t.proc.Wait(t.ctx) {
		over := time.NewTimer(toolexec.DrainDelay)
		for _, read := range []chan struct{}{t.eof, t.told} { // what it wrote last is read first
			select {
			case <-read:
			case <-t.ctx.Done():
			case <-over.C:
				over.Reset(0)
			}
		}
		t.end(fmt.Errorf("the server ended: %s", t.proc.Cmd.ProcessState))
	}
	_ = t.stdout.SetReadDeadline(time.Unix(1, 0)) // it stays open until the program has ended
	t.stdin.Close()
	select {
	case <-t.proc.Done:
	case <-time.After(exitGrace):
	}
	t.proc.End()
	t.stdout.Close()
	// A process that is beyond our reach may hold this open.
	_ = t.stderr.SetReadDeadline(time.Now().Add(toolexec.DrainDelay))
	beside.Wait()
	t.stderr.Close()
}

// Close ends the connection and the program.
func (t *stdioTransport) Close() error {
	t.end(errUnneeded)
	<-t.gone
	return nil
}

// Write queues a message.
func (t *stdioTransport) Write(ctx context.Context, msg jsonrpc.Message) error {
	data, err := jsonrpc.EncodeMessage(msg)
	if err != nil {
		return err
	}
	select {
	case t.queue <- line{data: append(data, '\n'), request: requestOf(ctx)}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.ctx.Done():
		return context.Cause(t.ctx)
	}
}

// writeQueue writes what is queued until the connection is over.
func (t *stdioTransport) writeQueue() {
	for {
		select {
		case l := <-t.queue:
			if l.request != nil && !l.request.depart() {
				continue
			}
			if _, err := t.stdin.Write(l.data); err != nil {
				t.broken(err)
				return
			}
		case <-t.ctx.Done():
			return
		}
	}
}

// broken ends the connection after a failed write. The end of the program, where
// that is the reason, tells more: it gets a moment to be noticed.
func (t *stdioTransport) broken(err error) {
	select {
	case <-t.ctx.Done():
	case <-time.After(2 * toolexec.DrainDelay):
	}
	t.end(err)
}

// Read reads the next message. Lines that are none are skipped.
func (t *stdioTransport) Read(context.Context) (jsonrpc.Message, error) {
	for {
		if len(t.rest) > 0 {
			msg := t.rest[0]
			t.rest = t.rest[1:]
			return msg, nil
		}
		line, end, err := t.readLine()
		if err != nil {
			return nil, t.endOf(err)
		}
		if line = bytes.TrimSpace(bytes.TrimPrefix(line, bom)); len(line) == 0 {
			continue
		}
		if len(end) > 0 {
			t.rest, err = tooLong(line, end)
		} else {
			t.rest, err = decodeFrame(line)
		}
		if err == nil {
			t.stray = 0
			continue
		}
		if t.stray++; t.stray > maxStray {
			return nil, t.endOf(fmt.Errorf("the server wrote %d lines that are no messages", maxStray))
		}
		if t.stray == 1 {
			t.log.Warn("an MCP server writes to its standard output what is no message: it is skipped")
		}
		t.log.Debug("no message", "line", t.client.server.endpoint.quote(line, maxLogLine))
	}
}

// endOf is the reason why there is nothing to read any more.
func (t *stdioTransport) endOf(err error) error {
	if t.ctx.Err() == nil && errors.Is(err, io.EOF) {
		// The program's end, where it comes with this, tells more.
		close(t.eof)
		select {
		case <-t.ctx.Done():
		case <-time.After(2 * toolexec.DrainDelay):
			err = errors.New("the server closed its standard output")
		}
	}
	t.end(err)
	return context.Cause(t.ctx)
}

// readLine reads the next line. Of one that is longer than maxFrame, end is the end,
// and line no more than what was read before it was.
func (t *stdioTransport) readLine() (line, end []byte, err error) {
	ending := content.Ending{Max: maxLogLine}
	for n := 0; ; {
		piece, err := t.lines.ReadSlice('\n')
		if n += len(piece); n > maxLine {
			return nil, nil, fmt.Errorf("the server wrote a line of more than %d bytes", maxLine)
		}
		if n > maxFrame {
			_, _ = ending.Write(piece) // it never fails
		} else {
			line = append(line, piece...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, ending.Last(), err
		}
	}
}

// idAtEnd is the id of a response that ends with it.
var idAtEnd = regexp.MustCompile(`[,{]\s*"id"\s*:\s*"?(\d+)"?\s*(,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$`)

// tooLong is what a line comes to that is too long to be read: the error of the response
// whose id is at its begin or its end, where servers have it.
func tooLong(begin, end []byte) ([]jsonrpc.Message, error) {
	head := gjson.GetManyBytes(begin[:min(len(begin), maxLogLine)], "id", "method")
	text := head[0].String()
	if at := idAtEnd.FindSubmatch(end); text == "" && at != nil {
		text = string(at[1])
	}
	if head[1].Exists() || text == "" {
		return nil, errTooLong
	}
	id, err := jsonrpc.MakeID(text)
	return []jsonrpc.Message{&jsonrpc.Response{ID: numbered(id), Error: errTooLong}}, err
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

// logStderr takes what the server writes for people to the log, a bounded part of
// each line, and keeps the end. It may hold what was in a call, or a secret of the
// server's.
func (t *stdioTransport) logStderr() {
	defer close(t.told)
	lines := bufio.NewReaderSize(t.stderr, maxHidden)
	for whole := true; ; {
		line, more, err := lines.ReadLine()
		if err != nil {
			return
		}
		if whole {
			text := t.client.server.endpoint.quote(line, maxLogLine)
			t.log.Debug("the MCP server wrote to stderr", "stderr", text)
			t.client.mu.Lock()
			_, _ = t.client.stderr.Write([]byte(text + "\n")) // it never fails
			t.client.mu.Unlock()
		}
		whole = !more
	}
}

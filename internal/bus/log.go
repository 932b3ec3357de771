package bus

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"time"
)

// serverLog hands the server's log on: what it calls notice is debug here.
type serverLog struct {
	log *slog.Logger

	mu    sync.Mutex
	fatal string // guarded by mu
	// unreadable is the first file that could not be opened or read for a reason
	// that is not in it; guarded by mu.
	unreadable *fs.PathError

	minute time.Time // guarded by mu; when lines about clients were last counted anew
	lines  int       // guarded by mu; since then
}

// maxClientLines bounds how many lines a minute are about what clients do, such as what
// they are refused: they choose how often they do it.
const maxClientLines = 10

// isTooMuch reports whether a line is left out, as one more about what clients do.
func (l *serverLog) isTooMuch(format string) bool {
	if !strings.Contains(format, " - cid:") {
		return false
	}
	l.mu.Lock()
	omitted := 0
	if time.Since(l.minute) >= time.Minute {
		omitted = max(0, l.lines-maxClientLines)
		l.minute, l.lines = time.Now(), 0
	}
	l.lines++
	tooMuch := l.lines > maxClientLines
	l.mu.Unlock()
	if omitted > 0 {
		l.log.Warn("NATS server: lines about clients were left out", "lines", omitted)
	}
	return tooMuch
}

// noteFiles keeps it where a line has it.
func (l *serverLog) noteFiles(v []any) {
	for _, arg := range v {
		err, _ := arg.(error)
		var file *fs.PathError
		if err == nil || !errors.As(err, &file) {
			continue
		}
		for _, why := range [...]error{syscall.EACCES, syscall.EPERM, syscall.EMFILE, syscall.ENFILE, syscall.EIO, syscall.ENOMEM} {
			if errors.Is(file, why) {
				l.mu.Lock()
				l.unreadable = or(l.unreadable, file)
				l.mu.Unlock()
			}
		}
	}
}

// unreadableFile is that file; nil: there was none.
func (l *serverLog) unreadableFile() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unreadable == nil {
		return nil
	}
	return l.unreadable
}

// benign are warnings about what we chose on purpose.
var benign = [...]string{"Maximum payloads over", "Connections may fail", "Plaintext passwords"}

func (l *serverLog) line(format string, v []any) string {
	return strings.TrimSpace(fmt.Sprintf(format, v...))
}

// Noticef implements server.Logger.
func (l *serverLog) Noticef(format string, v ...any) {
	l.log.Debug("NATS server: " + l.line(format, v))
}

// Warnf implements server.Logger.
func (l *serverLog) Warnf(format string, v ...any) {
	l.noteFiles(v)
	if l.isTooMuch(format) {
		return
	}
	text := l.line(format, v)
	for _, b := range benign {
		if strings.Contains(text, b) {
			l.log.Debug("NATS server: " + text)
			return
		}
	}
	l.log.Warn("NATS server: " + text)
}

// Errorf implements server.Logger.
func (l *serverLog) Errorf(format string, v ...any) {
	l.noteFiles(v)
	if l.isTooMuch(format) {
		return
	}
	l.log.Error("NATS server: " + l.line(format, v))
}

// Fatalf implements server.Logger. The server means that the process should end
// here; Open gives the text as its error instead.
func (l *serverLog) Fatalf(format string, v ...any) {
	text := l.line(format, v)
	l.log.Error("NATS server: " + text)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == "" {
		l.fatal = text
	}
}

// Debugf implements server.Logger.
func (l *serverLog) Debugf(string, ...any) {}

// Tracef implements server.Logger.
func (l *serverLog) Tracef(string, ...any) {}

func (l *serverLog) fatalText() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

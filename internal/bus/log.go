package bus

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// serverLog hands the server's log on: what it calls notice is debug here.
type serverLog struct {
	log *slog.Logger

	mu    sync.Mutex
	fatal string // guarded by mu
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

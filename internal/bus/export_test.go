package bus

import (
	"io"
	"log/slog"
	"time"
)

// ReplyBound is how long a reply to a tool's request may take to pass the border of
// the accounts.
func (b *Bus) ReplyBound() (time.Duration, error) {
	account, err := b.srv.LookupAccount(outsideAccount)
	if err != nil {
		return 0, err
	}
	return account.ServiceExportResponseThreshold("toolhand.tool.>")
}

// UnreadableFile is what a start makes of an error that the server logs.
func UnreadableFile(logged error) error {
	l := &serverLog{log: slog.New(slog.DiscardHandler)}
	l.Warnf("  Error recreating stream %q: %v", "s", logged)
	return l.unreadableFile()
}

// LockToRead is what [CopyStream] holds a store by.
func LockToRead(dir string) (unlock func() error, err error) { return lockToRead(dir) }

// Forward is how what a client sends gets to the server.
func Forward(server io.Writer, client io.Reader) error { return forward(server, client) }

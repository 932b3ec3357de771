package bus

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// OwnInbox are the options by which a client of a worker's nats.listen at rawURL
// has an inbox of its own: a user name that nobody can guess, or the one in the URL,
// and the prefix that belongs to it. For any other server, which may know other
// users and prefixes, or one that does not answer, they are none.
func OwnInbox(rawURL string) []nats.Option {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "nats" && u.Scheme != "tls" || !isListen(u) {
		return nil
	}
	if u.User == nil {
		name := rand.Text()
		return []nats.Option{nats.UserInfo(name, ""), nats.CustomInboxPrefix(inboxOf(name))}
	}
	if _, ok := u.User.Password(); ok && clientName.MatchString(u.User.Username()) {
		return []nats.Option{nats.CustomInboxPrefix(inboxOf(u.User.Username()))}
	}
	return nil // what stands alone in a URL is a token
}

// isListen reports whether a worker's embedded server is at u. A server says who it
// is before anything is shown to it.
func isListen(u *url.URL) bool {
	port := u.Port()
	if port == "" {
		port = "4222"
	}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(u.Hostname(), port), dialTimeout)
	if err != nil {
		return false
	}
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(dialTimeout)) != nil {
		return false
	}
	line, err := bufio.NewReaderSize(conn, 64<<10).ReadSlice('\n')
	text, ok := strings.CutPrefix(string(line), "INFO ")
	if err != nil || !ok {
		return false
	}
	var info struct {
		Name string `json:"server_name"`
	}
	return json.Unmarshal([]byte(text), &info) == nil && info.Name == serverName
}

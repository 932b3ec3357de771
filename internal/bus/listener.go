package bus

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// handshakeTimeout bounds a client's TLS handshake, and authTimeout, in seconds, the
	// time until it has shown its token, which includes the handshake.
	handshakeTimeout = 2 * time.Second
	authTimeout      = 4
	// deliverTimeout is how long one write to a client may take.
	deliverTimeout = 10 * time.Second
	// acceptAgain is how soon a connection is taken again where that failed.
	acceptAgain = 50 * time.Millisecond
)

// listener takes the connections of nats.listen, and checks which reply subjects their
// messages name. The server has no port of its own: it takes any reply subject, and lets
// those who receive the message publish there.
type listener struct {
	srv    *server.Server // immutable
	secure *tls.Config    // immutable; nil: no TLS
	ln     net.Listener   // immutable

	all    sync.WaitGroup // of the goroutines
	mu     sync.Mutex
	open   map[net.Conn]bool // guarded by mu; both ends of each connection
	closed bool              // guarded by mu
}

// listen begins to take connections at address.
func listen(srv *server.Server, address string, secure *tls.Config) (*listener, error) {
	if strings.HasPrefix(address, ":") {
		address = "0.0.0.0" + address
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrListen, err)
	}
	l := &listener{srv: srv, secure: secure, ln: ln, open: map[net.Conn]bool{}}
	l.all.Go(l.accept)
	return l, nil
}

// close ends all connections, and waits until they have ended.
func (l *listener) close() {
	l.mu.Lock()
	l.closed = true
	_ = l.ln.Close()
	for conn := range l.open {
		_ = conn.Close()
	}
	l.mu.Unlock()
	l.all.Wait()
}

func (l *listener) accept() {
	for {
		conn, err := l.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files
			time.Sleep(acceptAgain)
			continue
		}
		l.all.Go(func() { l.serve(conn) })
	}
}

// keep reports whether conn may be used; close ends it then.
func (l *listener) keep(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = conn.Close()
		return false
	}
	l.open[conn] = true
	return true
}

func (l *listener) drop(conn net.Conn) {
	_ = conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, conn)
}

// serve serves one connection until one side ends it.
func (l *listener) serve(client net.Conn) {
	if !l.keep(client) {
		return
	}
	defer l.drop(client)
	own, err := l.srv.InProcessConn()
	if err != nil || !l.keep(own) {
		return
	}
	defer l.drop(own)
	answers := bufio.NewReaderSize(own, maxLine)
	secured, err := l.greet(client, own, answers)
	if err != nil {
		return
	}
	l.all.Go(func() {
		// The end of one direction ends the other.
		defer l.drop(client)
		defer l.drop(own)
		deliver(secured, answers)
	})
	_ = forward(own, secured)
}

// greet tells the client what the server says first, which asks for TLS where there is
// TLS, and the server where the client is.
func (l *listener) greet(client, own net.Conn, answers *bufio.Reader) (net.Conn, error) {
	if err := client.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	line, err := answers.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if l.secure != nil {
		if line, err = requireTLS(line); err != nil {
			return nil, err
		}
	}
	if _, err := io.WriteString(client, line); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(own, origin(client)); err != nil {
		return nil, err
	}
	if l.secure != nil {
		secured := tls.Server(client, l.secure)
		if err := secured.Handshake(); err != nil {
			return nil, err
		}
		client = secured
	}
	return client, client.SetDeadline(time.Time{})
}

// requireTLS is the server's first line with TLS required.
func requireTLS(line string) (string, error) {
	var info map[string]json.RawMessage
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info); err != nil {
		return "", err
	}
	info["tls_required"] = json.RawMessage("true")
	data, err := json.Marshal(info)
	return "INFO " + string(data) + "\r\n", err
}

// origin tells the server a client's address, as proxies do (PROXY protocol, version 1).
func origin(client net.Conn) string {
	from, ok := client.RemoteAddr().(*net.TCPAddr)
	to, also := client.LocalAddr().(*net.TCPAddr)
	if !ok || !also {
		return "PROXY UNKNOWN\r\n"
	}
	family := "TCP6"
	if from.IP.To4() != nil {
		family = "TCP4"
	}
	return fmt.Sprintf("PROXY %s %s %s %d %d\r\n", family, from.AddrPort().Addr().Unmap().WithZone(""), to.AddrPort().Addr().Unmap().WithZone(""), from.Port, to.Port)
}

// deliver passes on what the server sends until one side ends.
func deliver(client net.Conn, answers io.Reader) {
	buf := make([]byte, maxLine)
	for {
		n, err := answers.Read(buf)
		if err != nil || client.SetWriteDeadline(time.Now().Add(deliverTimeout)) != nil {
			return
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

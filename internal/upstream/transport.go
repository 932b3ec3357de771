package upstream

import (
	"net"
	"net/http"
	"time"
)

// httpClients makes one client for streams, which stay open, and one for
// requests, which are short: a pool that streams fill would starve the others.
// Neither follows a redirect, since that would carry the credential along.
func httpClients(transport http.RoundTripper) (streams, requests *http.Client) {
	if transport != nil {
		one := httpClient(transport)
		return one, one
	}
	return httpClient(newTransport()), httpClient(newTransport())
}

func httpClient(transport http.RoundTripper) *http.Client {
	stop := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: transport, CheckRedirect: stop}
}

func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConns:        0, // bounded by the number per host
		// As many as sessions.max_active is by default: 200 sessions that answer
		// at once dial again and again where 64 are kept, for a tenth of the CPU.
		MaxIdleConnsPerHost:   1000,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		// A connection whose peer is gone must not hold a hundred streams.
		HTTP2:              &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
		DisableCompression: true, // identity is what is asked for
		ReadBufferSize:     4 << 10,
		WriteBufferSize:    4 << 10,
	}
}

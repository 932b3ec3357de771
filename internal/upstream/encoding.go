package upstream

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// decodeBody undoes what somebody between the worker and the API did to a response's
// body although no encoding was asked for: gzip, alone.
func decodeBody(res *http.Response) {
	switch encoding(res) {
	case "gzip", "x-gzip":
		res.Header.Del("Content-Encoding")
		res.Header.Del("Content-Length")
		res.ContentLength = -1
		res.Body = &gzipBody{body: res.Body}
	}
}

// encoding is a response's content encoding; empty where it has none.
func encoding(res *http.Response) string {
	e := strings.ToLower(strings.TrimSpace(strings.Join(res.Header.Values("Content-Encoding"), ", ")))
	if e == "identity" {
		return ""
	}
	return e
}

// encodingError says that a response can't be read for its encoding; nil where it
// can.
func encodingError(res *http.Response) error {
	e := encoding(res)
	if e == "" {
		return nil
	}
	return fmt.Errorf("its content encoding is %q, which was not asked for and is not supported: a proxy on the way must leave responses as they are", e)
}

// gzipBody decodes a body as it comes. It reads nothing before it is read: of a
// stream the first byte may be long in coming.
type gzipBody struct {
	body io.ReadCloser
	z    *gzip.Reader
}

func (g *gzipBody) Read(p []byte) (int, error) {
	if g.z == nil {
		z, err := gzip.NewReader(g.body)
		if err != nil {
			return 0, err
		}
		g.z = z
	}
	return g.z.Read(p)
}

func (g *gzipBody) Close() error { return g.body.Close() }

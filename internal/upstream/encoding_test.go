package upstream

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// encoded answers in an encoding that was not asked for, each part flushed.
func encoded(t *testing.T, name, media string, status int, parts ...string) *server {
	return newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("Accept-Encoding %q", got)
		}
		w.Header().Set("Content-Type", media)
		w.Header().Set("Content-Encoding", name)
		w.WriteHeader(status)
		z := gzip.NewWriter(w)
		for _, part := range parts {
			io.WriteString(z, part)
			z.Flush()
			_ = http.NewResponseController(w).Flush() // the client may have left
		}
		if strings.HasPrefix(media, "text/event-stream") {
			<-r.Context().Done() // it goes on
			return
		}
		z.Close()
	})
}

// A stream that a proxy compresses is read as it comes.
func TestCompressedStreamIsRead(t *testing.T) {
	for _, name := range []string{"gzip", "GZIP", "x-gzip"} {
		s := encoded(t, name, "text/event-stream; charset=utf-8", 200,
			"data: {\"type\":\"agent.message\"}\n\n", "event: ping\ndata: {\"type\":\"ping\"}\n\ndata: {\"type\":\"session.deleted\"}\n\n")
		st, err := s.client(t, nil).Stream(t.Context(), "sesn_1", 10*time.Second, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{TypeMessage, "ping", TypeDeleted} {
			if e, err := st.Next(); err != nil || e.Type != want {
				t.Errorf("%s: %+v, %v, want %s", name, e, err, want)
			}
		}
		st.Close()
	}
}

// Opening a compressed stream does not wait for its first byte, and a silent one
// ends at its bound.
func TestCompressedStreamMayBeSilent(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Content-Encoding", "gzip")
		_ = http.NewResponseController(w).Flush() // the client leaves
		<-r.Context().Done()
	})
	st, err := s.client(t, nil).Stream(t.Context(), "sesn_1", 100*time.Millisecond, true)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := st.Next(); err == nil || !strings.Contains(err.Error(), "no byte") {
		t.Errorf("error %v", err)
	}
}

// Compressed answers to the other requests are read too, refusals included: they
// are the API's own error all the same.
func TestCompressedAnswersAreRead(t *testing.T) {
	s := encoded(t, "gzip", "application/json", 200, `{"data":[{"type":"agent.message","id":"sevt_1"}],"status":"idle"}`)
	c := s.client(t, nil)
	if p, err := c.List(t.Context(), "sesn_1", Query{}, true); err != nil || len(p.Events) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	if err := c.Send(t.Context(), "sesn_1", nil); err != nil {
		t.Error(err)
	}
	s = encoded(t, "gzip", "application/json", 400, `{"type":"error","error":{"type":"invalid_request_error","message":"no"}}`)
	if err := s.client(t, nil).Send(t.Context(), "sesn_1", nil); KindOf(err) != KindRefused {
		t.Errorf("%v, %s", err, KindOf(err))
	}
}

// Any other encoding is refused, and the error says what is wrong.
func TestOtherEncodingsAreRefused(t *testing.T) {
	for _, name := range []string{"br", "zstd", "deflate", "gzip, br"} {
		for media, do := range map[string]func(*Client) error{
			"text/event-stream": func(c *Client) error { _, err := c.Stream(t.Context(), "sesn_1", time.Minute, true); return err },
			"application/json":  func(c *Client) error { return c.Send(t.Context(), "sesn_1", nil) },
		} {
			s := encoded(t, name, media, 200, `{"data":[]}`)
			err := do(s.client(t, nil))
			if err == nil || KindOf(err) != KindUnknown || !strings.Contains(err.Error(), `its content encoding is "`+name+`"`) {
				t.Errorf("%s, %s: %v", media, name, err)
			}
		}
	}
}

package limit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// Tool runs a call.
type Tool func(name string, input []byte) string

// Client is what sessions share.
type Client struct {
	// URL is the API's.
	URL string
	// Streams and Requests carry the requests; they may be one.
	Streams, Requests *http.Client
	Tool              Tool
}

// session is the state of one session, owned by its goroutine but for results.
type session struct {
	*Client
	path string
	turn *turn
}

// turn is what one turn has answered so far.
type turn struct {
	calls sync.WaitGroup
	mu    sync.Mutex
	body  []byte // guarded by mu
}

const head = `{"events":[`

func newTurn() *turn { return &turn{body: []byte(head)} }

func (c *Client) request(method, url string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{
		"Authorization": {"Bearer any"}, "Anthropic-Version": {"2023-06-01"}, "Anthropic-Beta": {"managed-agents-2026-04-01"},
	}
	if body != nil {
		req.Header["Content-Type"] = []string{"application/json"}
	}
	return req, nil
}

// Serve follows a session until its stream ends.
func (c *Client) Serve(id string) error {
	s := &session{Client: c, path: c.URL + "/v1/sessions/" + id + "/events", turn: newTurn()}
	req, err := c.request(http.MethodGet, s.path+"/stream?beta=true", nil)
	if err != nil {
		return err
	}
	res, err := c.Streams.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the stream's status is %s", res.Status)
	}
	if err := s.history(); err != nil {
		return err
	}
	lines := bufio.NewReaderSize(res.Body, 4096)
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			continue // a long line is none that matters
		}
		if err != nil {
			return err
		}
		s.line(line)
	}
}

// history reads the history once, as any client must that does not want to miss a
// call made before its stream was open. The benchmark has none.
func (s *session) history() error {
	req, err := s.request(http.MethodGet, s.path+"?beta=true&limit=100&order=desc&types[]=agent.custom_tool_use", nil)
	if err != nil {
		return err
	}
	return s.do(req)
}

func (s *session) do(req *http.Request) error {
	res, err := s.Requests.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s", req.Method, req.URL.Path, res.Status)
	}
	return err
}

func (s *session) line(line []byte) {
	data, ok := bytes.CutPrefix(line, []byte("data: "))
	if !ok {
		return
	}
	switch {
	case bytes.HasPrefix(data, []byte(`{"type":"agent.custom_tool_use"`)):
		id, name, input := text(data, `"id":"`), text(data, `"name":"`), member(data, `"input":`)
		t := s.turn
		t.calls.Go(func() { t.answer(id, s.Tool(name, input)) })
	case bytes.HasPrefix(data, []byte(`{"type":"session.status_idle"`)):
		t := s.turn
		s.turn = newTurn()
		if bytes.Contains(data, []byte(`"requires_action"`)) {
			go s.send(t)
		}
	}
}

// text is the string that follows mark.
func text(data []byte, mark string) string {
	_, rest, ok := bytes.Cut(data, []byte(mark))
	if !ok {
		return ""
	}
	value, _, _ := bytes.Cut(rest, []byte{'"'})
	return string(value)
}

// member is the value that follows mark, up to the event's end: it stands last.
func member(data []byte, mark string) []byte {
	_, rest, _ := bytes.Cut(data, []byte(mark))
	return bytes.Clone(bytes.TrimRight(rest, "}\n"))
}

func (t *turn) answer(id, result string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.body) > len(head) {
		t.body = append(t.body, ',')
	}
	t.body = fmt.Appendf(t.body, `{"type":"user.custom_tool_result","custom_tool_use_id":%q,"content":[{"type":"text","text":%q}],"is_error":false}`, id, result)
}

// send sends a turn's results when all its calls are done.
func (s *session) send(t *turn) {
	t.calls.Wait()
	req, err := s.request(http.MethodPost, s.path+"?beta=true", bytes.NewReader(append(t.body, "]}"...)))
	if err == nil {
		err = s.do(req)
	}
	if err != nil {
		panic(err) // nothing is mended here; the benchmark must not go on
	}
}

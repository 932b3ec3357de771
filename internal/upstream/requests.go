package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/anthropics/anthropic-sdk-go/v2/option"
	"github.com/tidwall/gjson"
)

// maxBody bounds what is read of one answer of the API, in bytes.
const maxBody = 128 << 20

// TooLarge reports whether err says that an answer was larger than what is read
// of one: a smaller page may do.
func TooLarge(err error) bool { return errors.Is(err, errTooLarge) }

// Query selects a page of a session's history.
type Query struct {
	Types  []string // empty: all
	Limit  int      // events a page; 0: the API's default
	Page   string   // the cursor of the page before, or empty
	Oldest bool     // oldest first instead of newest first
	// Counted says that the budget has let this read through already, together with
	// the stream whose opening it follows.
	Counted bool
}

// Page is a part of a session's history, in the order that was asked for.
type Page struct {
	Events []Event
	// Next is the cursor of the following page, empty on the last.
	Next string
}

// List reads one page of a session's history. Urgent reads go first where the
// budget is short.
func (c *Client) List(ctx context.Context, session string, q Query, urgent bool) (Page, error) {
	v := url.Values{"beta": {"true"}, "order": {"desc"}}
	if q.Oldest {
		v.Set("order", "asc")
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Page != "" {
		v.Set("page", q.Page)
	}
	if len(q.Types) > 0 {
		v["types[]"] = q.Types
	}
	body, err := c.read(ctx, "list", sessionPath(session, "/events?"+v.Encode()), q.Counted, urgent)
	if err != nil {
		return Page{}, err
	}
	p := Page{Next: gjson.GetBytes(body, "next_page").String()}
	data := gjson.GetBytes(body, "data")
	if !data.IsArray() {
		return Page{}, &Error{Op: "list", Status: http.StatusOK, Err: errNoData}
	}
	data.ForEach(func(_, v gjson.Result) bool {
		p.Events = append(p.Events, decode([]byte(v.Raw)))
		return true
	})
	return p, nil
}

// Session is what a worker needs to know of a session itself.
type Session struct {
	// Status is running, idle, rescheduling, terminated, or one that was not
	// invented yet.
	Status string
	// Archived reports that the session takes no events any more.
	Archived bool
}

// Over reports whether the session can't take a result any more.
func (s Session) Over() bool { return s.Archived || s.Status == "terminated" }

// Get reads a session's status.
func (c *Client) Get(ctx context.Context, session string, urgent bool) (Session, error) {
	body, err := c.read(ctx, "get", sessionPath(session, "?beta=true"), false, urgent)
	if err != nil {
		return Session{}, err
	}
	return Session{
		Status:   gjson.GetBytes(body, "status").String(),
		Archived: gjson.GetBytes(body, "archived_at").Type == gjson.String,
	}, nil
}

// read makes one list or get, with the SDK's retries, inside request_timeout.
func (c *Client) read(ctx context.Context, op, path string, counted, urgent bool) ([]byte, error) {
	if !counted {
		if err := c.budget.Wait(ctx, 1, urgent); err != nil {
			return nil, &Error{Op: op, Err: err}
		}
	}
	if err := c.enter(ctx, op); err != nil {
		c.budget.giveBack(1)
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.opts.RequestTimeout, timeoutError(op, c.opts.RequestTimeout))
	defer cancel()
	count := &c.counts.lists
	if op == "get" {
		count = &c.counts.gets
	}
	res, err := c.do(ctx, op, count, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	return readAll(ctx, op, res, maxBody)
}

// errTimeout is what a request that overran its wall clock failed with.
var errTimeout = errors.New("timed out")

// Timeout reports whether err is a request of ours that overran its wall clock.
func Timeout(err error) bool { return errors.Is(err, errTimeout) }

func timeoutError(op string, after time.Duration) error {
	return fmt.Errorf("%s %w after %s", op, errTimeout, after)
}

// Answer is one call's result as it is sent.
type Answer struct {
	CallID  string
	Content json.RawMessage // a JSON array of content blocks
	IsError bool
}

// Send sends the results of a batch in one request, one attempt within
// send_timeout. The API takes all or none of them. It counts when it is written,
// and waits for no budget.
func (c *Client) Send(ctx context.Context, session string, answers []Answer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The clock starts behind the gate: a wait for a working credential is no
	// attempt.
	if err := c.enter(ctx, "send"); err != nil {
		return err
	}
	timer := time.AfterFunc(c.opts.SendTimeout, func() { cancel(timeoutError("send", c.opts.SendTimeout)) })
	defer timer.Stop()
	res, err := c.do(ctx, "send", &c.counts.sends, http.MethodPost, sessionPath(session, "/events?beta=true"),
		encode(answers), option.WithMaxRetries(0))
	if err != nil {
		return err
	}
	body, err := readAll(ctx, "send", res, maxBody)
	if err != nil {
		return err
	}
	if !gjson.GetBytes(body, "data").IsArray() {
		return &Error{Op: "send", Status: res.StatusCode, Err: errNoData}
	}
	c.accepted.Add(1)
	return nil
}

// Accepted is how many sends of all sessions the API has accepted so far.
func (c *Client) Accepted() int64 { return c.accepted.Load() }

// errNoData is a JSON object that is not what the API answers with: somebody
// else's.
var errNoData = errors.New("its data is not an array")

// encode writes the body of a send. Contents are JSON already, and go out as
// they are.
func encode(answers []Answer) []byte {
	n := 32
	for _, a := range answers {
		n += len(a.Content) + len(a.CallID) + 96
	}
	b := append(make([]byte, 0, n), `{"events":[`...)
	for i, a := range answers {
		if i > 0 {
			b = append(b, ',')
		}
		id, _ := json.Marshal(a.CallID) // a string can always be encoded
		b = append(b, `{"type":"user.custom_tool_result","custom_tool_use_id":`...)
		b = append(b, id...)
		b = append(b, `,"content":`...)
		b = append(b, a.Content...)
		b = append(b, `,"is_error":`...)
		b = strconv.AppendBool(b, a.IsError)
		b = append(b, '}')
	}
	return append(b, `]}`...)
}

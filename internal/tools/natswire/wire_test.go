package natswire_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"toolhand/internal/tools"
	"toolhand/internal/tools/handlertest"
	"toolhand/internal/tools/natswire"
)

// What a worker that serves a tool replies is read by who asked as what it was.
func TestReplyIsReadAsItWas(t *testing.T) {
	text := json.RawMessage(`[{"type":"text","text":"said"}]`)
	for _, c := range []struct {
		name  string
		reply natswire.Reply
		text  string // of the result
		isErr bool
		check func(error) bool // nil: there is a result
	}{
		{"ok", natswire.Reply{Result: tools.Result{Content: text}, Outcome: "ok"}, "said", false, nil},
		{"error", natswire.Reply{Result: tools.Result{Content: text, IsError: true}, Outcome: "error"}, "said", true, nil},
		{"deadline", natswire.Reply{Result: tools.Result{Content: text, IsError: true}, Outcome: "deadline"}, "said", true, nil},
		{"unavailable", natswire.Reply{Result: tools.Result{Content: text, IsError: true}, Outcome: natswire.OutcomeUnavailable, Reason: "no\r\nway"}, "", false,
			func(err error) bool {
				var u *tools.UnavailableError
				return errors.As(err, &u) && !u.Passing && err.Error() == "no way"
			}},
		{"unavailable for a moment", natswire.Reply{Result: tools.Result{Content: text}, Outcome: natswire.OutcomeUnavailable, Reason: "later", Passing: true}, "", false,
			func(err error) bool { var u *tools.UnavailableError; return errors.As(err, &u) && u.Passing }},
		{"unknown", natswire.Reply{Result: tools.Result{Content: text}, Outcome: natswire.OutcomeUnknown, Reason: strings.Repeat("x", 5000)}, "", false,
			func(err error) bool {
				var l *tools.LostError
				return errors.As(err, &l) && len(err.Error()) <= 1<<10
			}},
		{"unknown of a worker that gives no reason in a header", natswire.Reply{Result: tools.Result{Content: text}, Outcome: natswire.OutcomeUnknown}, "", false,
			func(err error) bool { var l *tools.LostError; return errors.As(err, &l) && err.Error() == "said" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _, err := natswire.ReadReply(&nats.Msg{Header: c.reply.Header(), Data: c.reply.Data()}, 0)
			if c.check != nil {
				if !c.check(err) {
					t.Errorf("%T %v", err, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := handlertest.Text(t, r); got != c.text || r.IsError != c.isErr {
				t.Errorf("%q, error %t", got, r.IsError)
			}
		})
	}
}

// An id is one part of a subject, and no two ids are the same one.
func TestTokens(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{"sevt_1", "sevt_2", "", ".", "a.b", "a>b", "*", ">", "a b", "é", strings.Repeat("x", 128), strings.Repeat("x", 129), strings.Repeat("x", 130)} {
		token := natswire.Token(id)
		if token == "" || strings.ContainsAny(token, ".*> \t\r\n") || len(token) > 128 {
			t.Errorf("%q becomes %q", id, token)
		}
		if other, twice := seen[token]; twice {
			t.Errorf("%q and %q become %q", other, id, token)
		}
		seen[token] = id
	}
	if natswire.Token("sevt_1") != "sevt_1" {
		t.Error("a plain id does not stand as it is")
	}
}

// A job's result goes where the job says, but never out of the subjects of results.
func TestResultSubject(t *testing.T) {
	for _, c := range []struct{ named, id, want string }{
		{"toolhand.results.other", "sevt_1", "toolhand.results.other"},
		{"elsewhere.results", "sevt_1", "toolhand.results.sevt_1"},
		{"", "sevt_1", "toolhand.results.sevt_1"},
		{"elsewhere", "", ""},
	} {
		h := nats.Header{}
		h.Set(natswire.ResultSubjectHeader, c.named)
		h.Set("Tool-Use-Id", c.id)
		if got := natswire.ResultSubject(h); got != c.want {
			t.Errorf("%q of %q: %q, want %q", c.named, c.id, got, c.want)
		}
	}
}

func TestRequest(t *testing.T) {
	call := tools.Call{ID: "sevt_1", Tool: "job", Session: "sesn_1", Input: []byte(`{"a":1}`), Deadline: time.Now().Add(time.Minute)}
	m := natswire.NewRequest("toolhand.tool.job", call)
	if m.Subject != "toolhand.tool.job" || string(m.Data) != `{"a":1}` || m.Header.Get("Tool-Use-Id") != "sevt_1" || m.Header.Get(nats.MsgIdHdr) != "sevt_1" {
		t.Errorf("%+v", m)
	}
	if left := m.Header.Get(natswire.TimeLeftHeader); len(left) != 5 || left > "60000" {
		t.Errorf("%s ms left", left)
	}
	if m := natswire.NewCancel(call); m.Subject != "toolhand.cancel.sevt_1" || len(m.Data) > 0 {
		t.Errorf("%+v", m)
	}
}

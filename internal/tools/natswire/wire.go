package natswire

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidwall/gjson"

	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// The subjects of the protocol, each followed by the name of a tool or by the [Token]
// of a call.
const (
	// ToolSubjects are where tools are asked.
	ToolSubjects = "toolhand.tool."
	// CancelSubjects tell that a call is over.
	CancelSubjects = "toolhand.cancel."
	// JobSubjects are the jobs of the queue.
	JobSubjects = "toolhand.jobs."
	// ResultSubjects are the results of jobs.
	ResultSubjects = "toolhand.results."
	// HandInSubjects are where results from outside arrive, which are checked before
	// they are passed on.
	HandInSubjects = "toolhand.handin."
	// AttachSubject is where a worker is asked to serve a session.
	AttachSubject = "toolhand.attach"
	// AckSubject is where a taker from outside whose connection was made again
	// acknowledges its job: on the job's own reply subject the server takes that only
	// from the connection that got the job. The data is the acknowledgement, and the
	// headers are the job's Nats-Msg-Id and [AckOfHeader].
	AckSubject = "toolhand.ack"
)

// The streams of the job queue.
const (
	JobStream    = "TOOLHAND_JOBS"
	ResultStream = "TOOLHAND_RESULTS"
)

// The headers of the protocol, beside those of [Describe].
const (
	// TimeLeftHeader of a request and of a job is how many milliseconds its call had
	// left when it was sent. Tool-Deadline says the same by the sender's clock, which
	// may differ from that of who receives it.
	TimeLeftHeader = "Tool-Time-Left"
	// ResultSubjectHeader of a job names the subject of its result.
	ResultSubjectHeader = "Tool-Result-Subject"
	// ClaimHeader of a job is set where the tool must not run twice. Who takes the job
	// publishes first, on the subject of the result, that it begins ([OutcomeBegun]),
	// with the header's value as the last sequence that it expects there, and does not
	// begin where that is refused: a server that is killed forgets what it handed out
	// in its last tenth of a second. At nats.listen the value is random
	// and stands for that sequence.
	ClaimHeader = "Tool-Claim"
	// AckOfHeader on [AckSubject] is the reply subject of the job.
	AckOfHeader = "Tool-Ack-Of"
	// OutcomeHeader of a reply says, where a worker serves the tool, what the call
	// came to: the asking worker decides by it whether the call may be tried again.
	OutcomeHeader = "Toolhand-Outcome"
	// ReasonHeader says why, beside [OutcomeUnavailable] and [OutcomeUnknown].
	ReasonHeader = "Toolhand-Reason"
	// PassingHeader, "true" beside [OutcomeUnavailable], says that another attempt may
	// succeed at once: who served the call has shut down while it waited for its next
	// one.
	PassingHeader = "Toolhand-Passing"
)

// The outcomes in [OutcomeHeader] that are no result of the tool.
const (
	// OutcomeUnavailable: the tool behind the server surely did not run.
	OutcomeUnavailable = "unavailable"
	// OutcomeUnknown: it may have run.
	OutcomeUnknown = "unknown_outcome"
	// OutcomeBegun: the call is no result yet.
	OutcomeBegun = "begun"
)

// maxReason bounds [ReasonHeader], in bytes.
const maxReason = 1 << 10

// NewRequest asks for a call on a subject.
func NewRequest(subject string, call tools.Call) *nats.Msg {
	msg := nats.NewMsg(subject)
	tools.Describe(call, msg.Header.Set)
	msg.Header.Set(nats.MsgIdHdr, call.ID)
	if !call.Deadline.IsZero() {
		msg.Header.Set(TimeLeftHeader, strconv.FormatInt(time.Until(call.Deadline).Milliseconds(), 10))
	}
	msg.Data = call.Input
	return msg
}

// NewCancel tells that a call is over.
func NewCancel(call tools.Call) *nats.Msg {
	msg := nats.NewMsg(CancelSubjects + Token(call.ID))
	tools.Describe(call, msg.Header.Set)
	return msg
}

// Token is an id as one part of a subject: itself, or where it could be taken for
// more, its digest behind a sign that no plain one has.
func Token(id string) string {
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-')
	}
	if id != "" && len(id) <= maxPlain && !strings.ContainsFunc(id, odd) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "=" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// maxPlain is the longest id that stands in a subject as it is, in bytes.
const maxPlain = 128

// Reply is what a worker that serves a tool answers.
type Reply struct {
	Result tools.Result
	// Outcome is the word for what the call came to.
	Outcome string
	// Reason is why, where Outcome is [OutcomeUnavailable] or [OutcomeUnknown].
	Reason string
	// Passing says of [OutcomeUnavailable] that another attempt may succeed at once.
	Passing bool
}

// Header is the reply's headers.
func (r Reply) Header() nats.Header {
	h := nats.Header{}
	h.Set(OutcomeHeader, r.Outcome)
	if r.Outcome == OutcomeUnavailable || r.Outcome == OutcomeUnknown {
		reason := strings.Join(strings.FieldsFunc(r.Reason, func(c rune) bool { return c < ' ' || c == 0x7f }), " ")
		h.Set(ReasonHeader, string(content.CutAfter(content.Valid([]byte(reason)), maxReason)))
	}
	if r.Passing {
		h.Set(PassingHeader, "true")
	}
	return h
}

// Data is the reply's data: the result.
func (r Reply) Data() []byte {
	var b bytes.Buffer
	b.Grow(len(r.Result.Content) + 32)
	b.WriteString(`{"content":`)
	b.Write(r.Result.Content)
	if r.Result.IsError {
		b.WriteString(`,"is_error":true`)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// ReadReply is what a reply says to who asked, with at most max bytes of text: of a
// worker that serves the tool also that the call did not run, or that its outcome is
// not known. A service's error stands in its headers. misfit is as in [content.Collector].
func ReadReply(reply *nats.Msg, max int) (r tools.Result, misfit string, err error) {
	switch reply.Header.Get(OutcomeHeader) {
	case OutcomeUnavailable:
		return r, "", &tools.UnavailableError{Err: reasonOf(reply), Passing: reply.Header.Get(PassingHeader) == "true"}
	case OutcomeUnknown:
		return r, "", &tools.LostError{Err: reasonOf(reply)}
	}
	body := content.NewCollector(max)
	body.Write(reply.Data)
	text, code := reply.Header.Get("Nats-Service-Error"), reply.Header.Get("Nats-Service-Error-Code")
	_, failed := reply.Header["Nats-Service-Error"]
	if _, coded := reply.Header["Nats-Service-Error-Code"]; !failed && !coded {
		r = body.Result(false)
		return r, body.Misfit(), nil
	}
	line := strings.ToValidUTF8(strings.TrimSpace("error "+code), "\uFFFD")
	if text != "" {
		line += ": " + strings.ToValidUTF8(text, "\uFFFD")
	}
	if len(reply.Data) > 0 {
		line += "\n"
	}
	r = content.Error(body.Under(line))
	r.Cause = strings.TrimSpace("service error " + strings.ToValidUTF8(code[:min(len(code), 20)], ""))
	return r, "", nil
}

// reasonOf is the reason that a reply gives: in its header, or else as its text.
func reasonOf(reply *nats.Msg) error {
	reason := reply.Header.Get(ReasonHeader)
	if reason == "" {
		body := content.NewCollector(maxReason)
		body.Write(reply.Data)
		reason = gjson.GetBytes(body.Result(true).Content, "0.text").String()
	}
	return errors.New(strings.ToValidUTF8(reason, "\uFFFD"))
}

// Begun reports whether m is the claim of who begins a job, and no result.
func Begun(m *nats.Msg) bool { return m.Header.Get(OutcomeHeader) == OutcomeBegun }

// ResultSubject is the subject of the result of a job with these headers: the one
// that it names, if it is one of results, or that of its call. Empty: it is no job.
func ResultSubject(job nats.Header) string {
	if named := job.Get(ResultSubjectHeader); strings.HasPrefix(named, ResultSubjects) {
		return named
	}
	if id := job.Get("Tool-Use-Id"); id != "" {
		return ResultSubjects + Token(id)
	}
	return ""
}

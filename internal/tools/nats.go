package tools

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// errNATSAway says that the connection was lost while a reply was waited for.
var errNATSAway = errors.New("the connection to NATS was lost before the reply came")

// A natsHandler asks on one subject and waits for the reply. All its fields are
// immutable after NewNATS.
type natsHandler struct {
	subject string
	conn    func() (*nats.Conn, error)
	max     int
	log     *slog.Logger
}

// Call sends the call once and waits for its reply. Nobody there, known within
// milliseconds, and no connection mean that it has surely not run; both pass.
func (h *natsHandler) Call(ctx context.Context, call Call) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, &UnavailableError{Err: context.Cause(ctx)}
	}
	nc, err := h.conn()
	if err != nil {
		return Result{}, &UnavailableError{Err: err}
	}
	msg := h.message(call)
	if size, limit := int64(msg.Size()-len(msg.Subject)), nc.MaxPayload(); nc.IsConnected() && size > limit {
		return Error(fmt.Sprintf("The input has %d bytes with its headers, and the NATS server takes at most %d: call the tool with less", size, limit)), nil
	}
	waiting, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// Watched from before the look at the connection, so that no loss of it goes
	// unseen: a reply that is lost with it would be waited for until the deadline.
	lost := nc.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	defer nc.RemoveStatusListener(lost)
	if !nc.IsConnected() {
		return Result{}, &UnavailableError{Err: errors.New("the NATS server is away"), Passing: true}
	}
	go func() {
		select {
		case _, open := <-lost:
			if open {
				stop(errNATSAway)
			}
		case <-waiting.Done():
		}
	}()
	reply, err := nc.RequestMsgWithContext(waiting, msg)
	if err == nil {
		return h.answer(reply)
	}
	return Result{}, h.failure(ctx, waiting, nc, call, err)
}

func (h *natsHandler) message(call Call) *nats.Msg {
	msg := nats.NewMsg(h.subject)
	Describe(call, msg.Header.Set)
	msg.Header.Set(nats.MsgIdHdr, call.ID)
	if !call.Deadline.IsZero() {
		msg.Header.Set(TimeLeftHeader, strconv.FormatInt(time.Until(call.Deadline).Milliseconds(), 10))
	}
	msg.Data = call.Input
	return msg
}

// failure says of an error whether the call may have run. What the client refused
// before it wrote anything, and what the server says that nobody took, has not.
func (h *natsHandler) failure(ctx, waiting context.Context, nc *nats.Conn, call Call, err error) error {
	switch {
	case ctx.Err() != nil:
		h.tell(nc, call)
		return &LostError{Err: context.Cause(ctx)}
	case errors.Is(err, nats.ErrNoResponders):
		return &UnavailableError{Err: fmt.Errorf("nobody answers on the NATS subject %s", h.subject), Passing: true}
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return &UnavailableError{Err: errors.New("the NATS server is away"), Passing: true}
	case errors.Is(err, nats.ErrHeadersNotSupported), errors.Is(err, nats.ErrConnectionDraining), errors.Is(err, nats.ErrMaxPayload):
		return &UnavailableError{Err: err}
	case waiting.Err() != nil:
		return &LostError{Err: context.Cause(waiting)}
	}
	return &LostError{Err: err}
}

// tell tells the handler that nobody waits for its reply any more.
func (h *natsHandler) tell(nc *nats.Conn, call Call) {
	msg := nats.NewMsg(cancelSubjects + plainToken(call.ID))
	Describe(call, msg.Header.Set)
	if err := nc.PublishMsg(msg); err != nil {
		h.log.Debug("the handler can't be told that its call is over", "tool", call.Tool, "call", call.ID, "error", err)
	}
}

// answer is what a reply says: of a worker that serves the tool also that the
// call did not run, or that its outcome is not known.
func (h *natsHandler) answer(reply *nats.Msg) (Result, error) {
	switch reply.Header.Get(OutcomeHeader) {
	case OutcomeUnavailable:
		return Result{}, &UnavailableError{Err: errors.New(ReplyText(reply.Data)), Passing: reply.Header.Get(PassingHeader) == "true"}
	case OutcomeUnknown:
		return Result{}, &LostError{Err: errors.New(ReplyText(reply.Data))}
	}
	return h.result(reply), nil
}

// result is what a reply says. A service's error stands in its headers.
func (h *natsHandler) result(reply *nats.Msg) Result {
	body := newCollector(h.max)
	body.Write(reply.Data)
	text, code := reply.Header.Get("Nats-Service-Error"), reply.Header.Get("Nats-Service-Error-Code")
	_, failed := reply.Header["Nats-Service-Error"]
	if _, coded := reply.Header["Nats-Service-Error-Code"]; !failed && !coded {
		return body.result(false)
	}
	line := strings.ToValidUTF8(strings.TrimSpace("error "+code), "\uFFFD")
	if text != "" {
		line += ": " + strings.ToValidUTF8(text, "\uFFFD")
	}
	if len(reply.Data) > 0 {
		line += "\n"
	}
	return Error(body.under(line))
}

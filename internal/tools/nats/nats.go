package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"

	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	"toolhand/internal/tools/natswire"
)

// errNATSAway says that the connection was lost while a reply was waited for.
var errAway = errors.New("the connection to NATS was lost before the reply came")

// A handler asks on one subject and waits for the reply. All its fields but misfits are
// immutable after New.
type handler struct {
	subject string
	conn    func() (*nats.Conn, error)
	max     int
	log     *slog.Logger
	misfits content.Misfits
}

// Call sends the call once and waits for its reply. Nobody there, known within
// milliseconds, and no connection mean that it has surely not run; both pass.
func (h *handler) Call(ctx context.Context, call tools.Call) (tools.Result, error) {
	if ctx.Err() != nil {
		return tools.Result{}, &tools.UnavailableError{Err: context.Cause(ctx)}
	}
	nc, err := h.conn()
	if err != nil {
		return tools.Result{}, &tools.UnavailableError{Err: err}
	}
	msg := natswire.NewRequest(h.subject, call)
	if size, limit := int64(msg.Size()-len(msg.Subject)), nc.MaxPayload(); nc.IsConnected() && size > limit {
		return content.Error(fmt.Sprintf("The input has %d bytes with its headers, and the NATS server takes at most %d: call the tool with less", size, limit)), nil
	}
	waiting, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// Watched from before the look at the connection, so that no loss of it goes
	// unseen: a reply that is lost with it would be waited for until the deadline.
	lost := nc.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	defer nc.RemoveStatusListener(lost)
	if !nc.IsConnected() {
		return tools.Result{}, &tools.UnavailableError{Err: errors.New("the NATS server is away"), Passing: true}
	}
	go func() {
		select {
		case _, open := <-lost:
			if open {
				stop(errAway)
			}
		case <-waiting.Done():
		}
	}()
	reply, err := nc.RequestMsgWithContext(waiting, msg)
	if err == nil {
		result, misfit, err := natswire.ReadReply(reply, h.max)
		h.misfits.Tell(ctx, h.log.With("tool", call.Tool), misfit)
		return result, err
	}
	return tools.Result{}, h.failure(ctx, waiting, nc, call, err)
}

// failure says of an error whether the call may have run. What the client refused
// before it wrote anything, and what the server says that nobody took, has not.
func (h *handler) failure(ctx, waiting context.Context, nc *nats.Conn, call tools.Call, err error) error {
	switch {
	case ctx.Err() != nil:
		h.tell(nc, call)
		return &tools.LostError{Err: context.Cause(ctx)}
	case errors.Is(err, nats.ErrNoResponders):
		return &tools.UnavailableError{Err: fmt.Errorf("nobody answers on the NATS subject %s", h.subject), Passing: true}
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return &tools.UnavailableError{Err: errors.New("the NATS server is away"), Passing: true}
	case errors.Is(err, nats.ErrHeadersNotSupported), errors.Is(err, nats.ErrConnectionDraining), errors.Is(err, nats.ErrMaxPayload):
		return &tools.UnavailableError{Err: err}
	case waiting.Err() != nil:
		return &tools.LostError{Err: context.Cause(waiting)}
	}
	return &tools.LostError{Err: err}
}

// tell tells the handler that nobody waits for its reply any more.
func (h *handler) tell(nc *nats.Conn, call tools.Call) {
	if err := nc.PublishMsg(natswire.NewCancel(call)); err != nil {
		h.log.Debug("the handler can't be told that its call is over", "tool", call.Tool, "call", call.ID, "error", err)
	}
}

package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"toolhand/internal/tools"
)

// TraceTimeout bounds the wait for what the server has to say about a trace.
const TraceTimeout = 2 * time.Second

// Live asks the server, not the handler, who would get a call: a message that is
// only traced is delivered to nobody (servers from 2.11 on; an older one would
// deliver it, and is not asked). So it finds who listens, and does not know
// whether that one is well.
func (h *handler) Live(ctx context.Context) error {
	nc, err := h.conn()
	if err != nil {
		return err
	}
	if !nc.IsConnected() {
		return errors.New("the NATS server is away")
	}
	var major, minor int
	if _, err := fmt.Sscanf(nc.ConnectedServerVersion(), "%d.%d", &major, &minor); err != nil || major < 2 || major == 2 && minor < 11 {
		return fmt.Errorf("%w: the NATS server is version %s, and 2.11 is the first that knows", tools.ErrNotTold, nc.ConnectedServerVersion())
	}
	ctx, cancel := context.WithTimeout(ctx, TraceTimeout)
	defer cancel()
	traces, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return err
	}
	defer traces.Unsubscribe()
	msg := nats.NewMsg(h.subject)
	msg.Header.Set("Nats-Trace-Dest", traces.Subject)
	msg.Header.Set("Nats-Trace-Only", "true")
	if err := nc.PublishMsg(msg); err != nil {
		return err
	}
	m, err := traces.NextMsgWithContext(ctx)
	if err != nil {
		return fmt.Errorf("%w: the NATS server traces no message for this user (%w)", tools.ErrNotTold, err)
	}
	return h.listened(m.Data)
}

// listened reads the trace of the first server. One of its routes counts as a
// listener too: it leads there only if one is beyond it.
func (h *handler) listened(data []byte) error {
	var trace struct {
		Events []struct{ Type, Error string }
	}
	if err := json.Unmarshal(data, &trace); err != nil {
		return fmt.Errorf("%w: the NATS server's trace can't be read: %w", tools.ErrNotTold, err)
	}
	why := fmt.Errorf("nobody listens on the NATS subject %s", h.subject)
	for _, e := range trace.Events {
		switch {
		case e.Type == "eg" && e.Error == "":
			return nil
		case e.Error != "":
			why = fmt.Errorf("nobody can be asked on the NATS subject %s: %s", h.subject, e.Error)
		case e.Type == "si":
			why = fmt.Errorf("%w: the NATS subject %s leads into another account", tools.ErrNotTold, h.subject)
		}
	}
	return why
}

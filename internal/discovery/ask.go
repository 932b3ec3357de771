package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"toolhand/internal/registry"
)

// Bounds of one round. Whoever may answer could send anything; an answer of the
// official libraries stays below 1 MiB on a server with its defaults.
const (
	subject       = "$SRV.INFO"
	maxAnswer     = 4 << 20  // bytes of one answer; a larger one is ignored
	maxRound      = 64 << 20 // bytes of all
	maxAnswers    = 10_000
	maxTools      = 20_000 // announcements of all
	maxProblems   = 1_000
	maxIdentifier = 128
)

var errAway = errors.New("the connection to NATS was lost while services were asked")

// info is what is read of a service's answer.
type info struct {
	Name      string `json:"name"`
	ID        string `json:"id"`
	Endpoints []struct {
		Name     string            `json:"name"`
		Subject  string            `json:"subject"`
		Metadata map[string]string `json:"metadata"`
	} `json:"endpoints"`
}

// Ask asks all services that nc reaches once, and takes in what they answer within
// window; it waits that long even if all have answered, since nobody knows how many
// there are. Its error says that nothing is known of anybody: NATS is away, or ctx
// is done.
func Ask(ctx context.Context, nc *nats.Conn, window time.Duration) (registry.Round, error) {
	if !nc.IsConnected() {
		return registry.Round{}, errors.New("the NATS server is away")
	}
	before := nc.Stats().Reconnects
	sub, err := nc.SubscribeSync(nc.NewRespInbox())
	if err != nil {
		return registry.Round{}, fmt.Errorf("NATS: %w", err)
	}
	defer sub.Unsubscribe()
	if err := sub.SetPendingLimits(maxAnswers, maxRound); err != nil {
		return registry.Round{}, fmt.Errorf("NATS: %w", err)
	}
	if err := nc.PublishRequest(subject, sub.Subject, nil); err != nil {
		return registry.Round{}, fmt.Errorf("NATS: %w", err)
	}
	within, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	g := &gathering{}
	for !g.full() {
		m, err := sub.NextMsgWithContext(within)
		if errors.Is(err, nats.ErrSlowConsumer) {
			g.missed()
			continue
		}
		if errors.Is(err, nats.ErrNoResponders) || err == nil && isNobody(m) || within.Err() != nil {
			break
		}
		if err != nil {
			return registry.Round{}, fmt.Errorf("NATS: %w", err)
		}
		g.take(m.Data)
	}
	switch {
	case ctx.Err() != nil:
		return registry.Round{}, context.Cause(ctx)
	case !nc.IsConnected(), nc.Stats().Reconnects != before:
		return registry.Round{}, errAway
	}
	return g.round, nil
}

// isNobody reports whether the server says that nobody listens.
func isNobody(m *nats.Msg) bool { return len(m.Data) == 0 && m.Header.Get("Status") == "503" }

// gathering is the answers of a round.
type gathering struct {
	round          registry.Round
	answers, bytes int
}

// full reports whether no more is taken in, and notes it.
func (g *gathering) full() bool {
	if g.answers < maxAnswers && g.bytes < maxRound && len(g.round.Announcements) < maxTools {
		return false
	}
	g.missed()
	return true
}

// missed notes that there is more than what was taken in.
func (g *gathering) missed() {
	if !g.round.Partial {
		g.round.Partial = true
		g.problem(fmt.Errorf("expected at most %d answers with %d tools in %d bytes, found more: what is missing may come in another round", maxAnswers, maxTools, maxRound))
	}
}

func (g *gathering) problem(err error) {
	if len(g.round.Problems) < maxProblems {
		g.round.Problems = append(g.round.Problems, err.Error())
	}
}

// take takes in one answer.
func (g *gathering) take(data []byte) {
	g.answers++
	g.bytes += len(data)
	list, err := read(data)
	if err != nil {
		g.problem(fmt.Errorf("an answer to %s is ignored: %w", subject, err))
		return
	}
	g.round.Announcements = append(g.round.Announcements, list...)
}

// read reads the announcements of one answer. Endpoints that are no tools are
// passed over.
func read(data []byte) ([]registry.Announcement, error) {
	if len(data) > maxAnswer {
		return nil, fmt.Errorf("expected at most %d bytes, found %d", maxAnswer, len(data))
	}
	var in info
	if err := json.Unmarshal(data, &in); err != nil {
		var kind *json.UnmarshalTypeError
		if !errors.As(err, &kind) {
			return nil, fmt.Errorf("it is not valid JSON: %w", err)
		}
		if isIdentifier(in.Name) {
			return nil, fmt.Errorf("service %s: expected %s, found another JSON value", in.Name, kind.Type)
		}
		return nil, fmt.Errorf("expected %s, found another JSON value", kind.Type)
	}
	if !isIdentifier(in.Name) || !isIdentifier(in.ID) {
		return nil, fmt.Errorf("expected a name and an id of at most %d letters, digits and signs", maxIdentifier)
	}
	var list []registry.Announcement
	for _, e := range in.Endpoints {
		if registry.Announces(e.Metadata) {
			list = append(list, registry.Announcement{Service: in.Name, ID: in.ID, Subject: e.Subject, Metadata: e.Metadata})
		}
	}
	return list, nil
}

// isIdentifier reports whether text is fit to be shown as a name: it comes from
// anybody.
func isIdentifier(text string) bool {
	return text != "" && len(text) <= maxIdentifier &&
		!strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"

	"toolhand/internal/admin"
	"toolhand/internal/config"
	"toolhand/internal/fleet"
	"toolhand/internal/tools/natswire"
)

// Why a session is served.
const (
	byConfiguration = "configuration"
	byHand          = "by hand"
)

// named are the sessions that somebody has named.
type named struct {
	mu sync.Mutex
	// configured are sessions.ids, or those of the command line; guarded by mu.
	configured []string
	// parted were detached by hand: they are attached again only by hand; guarded by mu.
	parted map[string]bool
}

// ids are the configured sessions, without those that were detached by hand.
func (n *named) ids() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(n.configured), func(id string) bool { return n.parted[id] })
}

// configure takes other ids, and gives those that came and went.
func (n *named) configure(ids []string) (came, went []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range ids {
		if !slices.Contains(n.configured, id) && !n.parted[id] {
			came = append(came, id)
		}
	}
	for _, id := range n.configured {
		if !slices.Contains(ids, id) {
			went = append(went, id)
		}
	}
	n.configured = ids
	return came, went
}

func (n *named) part(id string, parted bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !parted {
		delete(n.parted, id)
		return
	}
	if n.parted == nil {
		n.parted = map[string]bool{}
	}
	n.parted[id] = true
}

// Attach serves a session from now on, as one that somebody has named: it is never left
// for being quiet. One that is served already stays as it is: fresh is false then. It is
// for a worker for Sessions, while Serve runs.
func (w *Worker) Attach(ctx context.Context, id string) (fresh bool, err error) {
	return w.service.(*sessions).attach(ctx, id, byHand)
}

func (s *sessions) attach(ctx context.Context, id, by string) (fresh bool, err error) {
	if by == byHand {
		s.named.part(id, false)
	}
	return s.fleet.Attach(ctx, id, by, true)
}

// detach leaves a session: what runs is finished and sent first. It reports whether the
// session was served.
func (s *sessions) detach(ctx context.Context, id string) bool {
	was := s.fleet.Detach(ctx, id)
	if was {
		s.named.part(id, true)
	}
	return was
}

// renameIDs takes sessions.ids of the file anew, where it has them.
func (s *sessions) renameIDs(ctx context.Context) error {
	if s.opts.Source == "" || s.opts.Sole {
		return nil
	}
	cfg, err := config.Load(s.opts.Source)
	if err != nil {
		s.log.Error("the configuration can't be read: the sessions in force stay", "error", err)
		return err
	}
	came, went := s.named.configure(cfg.Sessions.IDs)
	for _, id := range went {
		s.fleet.Detach(ctx, id)
	}
	var all []error
	for _, id := range came {
		if _, err := s.attach(ctx, id, byConfiguration); err != nil {
			s.log.Error("session is not served", "session", id, "error", err)
			all = append(all, err)
		}
	}
	if len(came)+len(went) > 0 {
		s.log.Info("sessions.ids was taken anew", "came", came, "went", went)
	}
	return errors.Join(all...)
}

// attachRequest answers who asks for a session by a body {"id": …}, with the status that
// HTTP has for it.
func (s *sessions) attachRequest(ctx context.Context, body []byte) (status int, answer map[string]string) {
	wrong := func(status int, text string) (int, map[string]string) {
		return status, map[string]string{"error": text}
	}
	var asked struct{ ID *string }
	if err := json.Unmarshal(body, &asked); err != nil || asked.ID == nil {
		return wrong(http.StatusBadRequest, `expected a body such as {"id": "sesn_…"}`)
	}
	if err := config.SessionID(*asked.ID); err != nil {
		return wrong(http.StatusBadRequest, err.Error())
	}
	fresh, err := s.attach(ctx, *asked.ID, byHand)
	switch {
	case errors.Is(err, fleet.ErrFull):
		return wrong(http.StatusTooManyRequests, err.Error())
	case err != nil:
		return wrong(http.StatusConflict, err.Error())
	case fresh:
		s.log.Info("session is attached by hand", "session", *asked.ID)
		return http.StatusCreated, map[string]string{"id": *asked.ID, "worker": s.owner}
	}
	return http.StatusOK, map[string]string{"id": *asked.ID, "worker": s.owner}
}

// actions registers what the admin address does with sessions.
func (s *sessions) actions(page *admin.Server) {
	page.Action(http.MethodPost, "/api/v1/sessions", func(ctx context.Context, r admin.Request) (int, any) {
		status, answer := s.attachRequest(ctx, r.Body)
		return status, answer
	})
	page.Action(http.MethodDelete, "/api/v1/sessions/", func(ctx context.Context, r admin.Request) (int, any) {
		if !s.detach(ctx, r.Name) {
			return http.StatusNotFound, map[string]string{"error": "no session " + strconv.Quote(r.Name) + " is served here"}
		}
		s.log.Info("session is detached by hand", "session", r.Name)
		return http.StatusAccepted, map[string]string{"id": r.Name}
	})
}

// answerAttach answers requests on the subject by which programs attach sessions: one
// worker of those that ask for it does.
func (s *sessions) answerAttach(ctx context.Context) (stop func(), err error) {
	sub, err := s.bus.Conn().QueueSubscribe(natswire.AttachSubject, "toolhand", func(m *nats.Msg) {
		status, answer := s.attachRequest(ctx, m.Data)
		reply := nats.NewMsg(m.Reply)
		if text, failed := answer["error"]; failed {
			reply.Header.Set("Nats-Service-Error", text)
			reply.Header.Set("Nats-Service-Error-Code", strconv.Itoa(status))
		} else {
			reply.Data, _ = json.Marshal(answer) // strings always encode
		}
		if m.Reply != "" {
			_ = m.RespondMsg(reply) // who asked waits no longer, at worst
		}
	})
	if err != nil {
		return nil, err
	}
	return func() { _ = sub.Unsubscribe() }, nil // the connection ends soon at worst
}

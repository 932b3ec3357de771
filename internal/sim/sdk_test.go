package sim_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go/v2"
	"github.com/anthropics/anthropic-sdk-go/v2/option"

	"toolhand/internal/sim"
)

// echoTool answers with its input.
type echoTool struct{ name string }

func (t echoTool) Name() string        { return t.name }
func (t echoTool) Description() string { return "echoes" }
func (t echoTool) InputSchema() anthropic.BetaToolInputSchemaParam {
	return anthropic.BetaToolInputSchemaParam{Properties: map[string]any{}}
}

func (t echoTool) Execute(_ context.Context, input json.RawMessage) ([]anthropic.BetaToolResultBlockParamContentUnion, error) {
	if t.name == "broken" {
		return nil, errors.New("it broke")
	}
	text := fmt.Sprintf("%s got %s", t.name, input)
	return []anthropic.BetaToolResultBlockParamContentUnion{{OfText: &anthropic.BetaTextBlockParam{Text: text}}}, nil
}

// TestOfficialRunner judges the simulation by a client that we did not write.
// All of its traffic is held against the document.
func TestOfficialRunner(t *testing.T) {
	b := newBed(t, sim.Options{Heartbeat: 10 * time.Millisecond})
	srv, ctx := b.srv, b.ctx
	client := anthropic.NewClient(option.WithBaseURL(b.web.URL), option.WithAPIKey("key"),
		option.WithMaxRetries(0), option.WithHTTPClient(b.hc))

	sess := srv.Session("sesn_official")
	old := sess.CallTool("echo", `{"n":0}`) // found in the history
	sess.RequireAction()
	played := make(chan error, 1)
	go func() { played <- playForRunner(ctx, sess, old) }()

	idle := 10 * time.Second
	runner := client.Beta.Sessions.Events.NewToolRunner(ctx, sess.ID(), anthropic.SessionToolRunnerOptions{
		Tools:   []anthropic.BetaTool{echoTool{"echo"}, echoTool{"broken"}},
		MaxIdle: &idle,
		Logger:  slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	defer runner.Close()
	posted := 0
	for runner.Next() {
		if !runner.Current().Posted {
			t.Errorf("%s was not posted", runner.Current().ToolUseID)
		}
		posted++
	}
	if err := runner.Err(); !errors.Is(err, anthropic.ErrSessionTerminated) {
		t.Errorf("the runner ended with %v", err)
	}
	if err := <-played; err != nil {
		t.Error(err)
	}
	if posted != 4 {
		t.Errorf("%d calls were posted, want 4", posted)
	}
	if r, _ := sess.Result(old); r.Text() != `echo got {"n":0}` || r.IsError {
		t.Errorf("result %+v", r)
	}
}

// playForRunner is the other side of the session: two parallel calls, one that
// fails, the end.
func playForRunner(ctx context.Context, sess *sim.Session, old string) error {
	if err := sess.WaitAnswered(ctx, old); err != nil {
		return err
	}
	sess.Message("two at once")
	sess.CallTool("echo", `{"n":1}`)
	sess.CallTool("echo", `{"n":2}`)
	sess.RequireAction()
	if err := sess.WaitAnswered(ctx); err != nil {
		return err
	}
	id := sess.CallTool("broken", `{}`)
	sess.RequireAction()
	if err := sess.WaitAnswered(ctx); err != nil {
		return err
	}
	if r, _ := sess.Result(id); !r.IsError {
		return fmt.Errorf("the failure came as %+v", r)
	}
	sess.EndTurn()
	sess.Terminate()
	return nil
}

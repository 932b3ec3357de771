package loop

import (
	"context"
	"testing"
	"time"

	"toolhand/internal/registry"
	"toolhand/internal/sim"
	"toolhand/internal/testkit"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

func TestTurnOfManyCallsCostsOneSend(t *testing.T) {
	r := newRig(t, nil)
	r.echo("a")
	r.tool(registry.Manifest{Name: "slow", Handler: handlerFunc(func(ctx context.Context, c tools.Call) (tools.Result, error) {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
		return content.Text("slow"), nil
	})})
	var ids []string
	for range 4 {
		ids = append(ids, r.session.CallTool("a", `{"n":9007199254740993}`), r.session.CallTool("slow", `{}`))
	}
	r.session.RequireAction()
	r.answered(ids...)
	if got := r.result(ids[0]).Text(); got != `{"n":9007199254740993}` {
		t.Errorf("the input came back as %s", got)
	}
	if got := r.count(sim.Send); got != 1 {
		t.Errorf("%d sends, want 1", got)
	}
	testkit.Eventually(r.t, "the journal is empty", func() bool { return r.journal.Len() == 0 })
	r.session.EndTurn()
	r.session.Terminate()
	r.over(ReasonOver)
}

package loop

import (
	"context"
	"strings"
	"testing"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

// narrowJournal takes results up to a size only.
type narrowJournal struct {
	*journal.Memory
	limit int
}

func (j narrowJournal) Finish(ctx context.Context, e journal.Entry) (uint64, error) {
	if size := len(e.Content); size > j.limit {
		return 0, &journal.TooLargeError{Size: size, Limit: j.limit}
	}
	return j.Memory.Finish(ctx, e)
}

// Invariant 3: a result that the journal can't take whole is cut, and what is sent
// is what the journal holds.
func TestResultTooLargeForTheJournalIsCut(t *testing.T) {
	memory := &journal.Memory{}
	set := func(o *options) { o.journal = narrowJournal{memory, 4000} }
	scenario(t, set, func(t *testing.T, r *rig) {
		runs := 0
		r.tool(registry.Manifest{Name: "long", Deadline: time.Minute, Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
			runs++
			return content.Text("begin" + strings.Repeat("x", 9000) + "end"), nil
		})})
		id := r.session.CallTool("long", `{}`)
		r.session.RequireAction()
		r.answered(id)
		text := r.result(id).Text()
		if r.result(id).IsError || runs != 1 || len(text) > 4000 || len(text) < 3000 ||
			!strings.HasPrefix(text, "begin") || !strings.HasSuffix(text, "end") || !strings.Contains(text, "bytes left out") {
			t.Errorf("after %d runs, error %t, %d bytes: %.80q", runs, r.result(id).IsError, len(text), text)
		}
		after(0)
		r.ended(id, run.OK)
	})
}

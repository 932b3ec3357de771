package loop

import (
	"context"
	"time"

	"toolhand/internal/journal"
	"toolhand/internal/loop/run"
)

// journalTimeout bounds one operation of the journal.
const journalTimeout = 5 * time.Second

// perform does what the ledger says. It never waits: whatever takes time goes on
// beside it and reports back. It returns why the session ends, if it does.
func (s *Session) perform(outs []Output) Reason {
	var reason Reason
	s.stopping.Lock() // the stops among them go together
	defer s.stopping.Unlock()
	for _, out := range outs {
		switch out := out.(type) {
		case give:
			s.run(out.call)
		case stop:
			s.running[out.id].Stop(out.cause)
		case takeBack:
			s.running[out.id].TakeBack()
		case finish:
			s.spawn(func() { s.finishEntry(out.entry) })
		case forget:
			s.spawn(func() { s.forgetEntries(out.ids) })
		case send:
			s.spawn(func() { s.sendBatch(out.answers) })
		case readHistory:
			s.spawn(func() { s.readHistory(out) })
		case findPrimary:
			s.spawn(s.findPrimary)
		case end:
			reason = out.reason
		default:
			s.tell(out)
		}
	}
	return reason
}

// tell logs and reports what the ledger has to say.
func (s *Session) tell(out Output) {
	log := s.cfg.Log
	switch out := out.(type) {
	case answered:
		s.report("call answered", out.report)
	case dropped:
		s.report("call not answered", out.report)
	case late:
		log.Info("tool ended after its call was answered for", "tool", out.tool, "call", out.id,
			"after", out.after.Round(time.Millisecond).String(), "error", errText(out.err))
	case quarantine:
		log.Error("the API refuses this result for good: set aside ('worker calls show' prints it), and the call stays unanswered",
			"tool", out.report.Tool, "call", out.report.ID, "bytes", out.report.Bytes, "why", out.why)
		log.Debug("result set aside", "call", out.report.ID, "content", string(out.report.Result.Content))
		s.told(out.report)
	case notice:
		if out.warn {
			log.Warn(out.text, out.args...)
		} else {
			log.Info(out.text, out.args...)
		}
	}
}

func (s *Session) report(text string, r run.Report) {
	r.Log(s.cfg.Log, text)
	s.told(r)
}

func (s *Session) told(r run.Report) {
	if s.cfg.Report != nil {
		r.Session = s.cfg.Session
		s.cfg.Report(r)
	}
}

// run starts the run of a call. Its place in the row for a slot is taken here, where
// calls are in their order.
func (s *Session) run(c run.Call) {
	r := s.runner.Queue(s.ctx, c, func(e run.End) { s.post(ran{c.ID, e}) })
	s.running[c.ID] = r
	s.spawn(r.Do)
}

func (s *Session) finishEntry(e journal.Entry) {
	ctx, cancel := s.journalContext()
	defer cancel()
	revision, err := s.cfg.Journal.Finish(ctx, e)
	s.post(finishDone{id: e.Call, revision: revision, err: err})
}

func (s *Session) forgetEntries(ids []string) {
	ctx, cancel := s.journalContext()
	defer cancel()
	err := s.cfg.Journal.Forget(ctx, s.cfg.Session, ids...)
	s.post(forgotten{ids: ids, err: err})
}

// journalContext outlives the session: a write that was begun is carried to its
// end, since its outcome matters after a restart.
func (s *Session) journalContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.lasting, journalTimeout)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

package loop

// The counterparts of the official SDK's tests of its runner
// (betasessiontoolrunner_test.go in its module), those about custom tools. Not
// taken over: what concerns the SDK's own API (RequiresSessionID, the yielded
// values, ToToolResultContent), tracing (…Span…), and the approval of builtin
// tools, of which only "they never hold a batch" concerns a worker.
//
//	SDK: TestSessionToolRunner_…                       here
//	YieldsAndPostsResult, DispatchesCustomTool         TestCallIsRunAndAnswered
//	DispatchesBuiltinAndCustom                         TestConfirmationsNeverHoldABatch (turns_test.go)
//	EmptyTextResultPostsPlaceholder,
//	  ToToolResultContent_EmptyTextBecomesPlaceholder  TestEmptyAnswerGetsAPlaceholder
//	ToToolResultContent_BlockPassthrough               TestBlocksGoOutAsTheyAre
//	ReconcileRetriesFailedPost                         TestRefusedSendNeverRunsTheToolAgain (refusals_test.go)
//	SkipsUnownedToolByDefault                          TestIgnoredNamesAreLeftToTheirOwner
//	SkippedUnownedToolDoesNotTripIdle                  TestIgnoredNameKeepsAWaitingSession
//	SessionTerminatedEndsIteration                     TestTerminationEnds (ends_test.go)
//	CallPostedAtTerminationIsYielded                   TestResultAcceptedAtTerminationIsReportedAnswered (ends_test.go)
//	ReconcileSurfacesSessionTerminatedFromHistory      TestTerminationInTheHistoryEnds (ends_test.go)
//	IdleTimeoutEndsIteration                           TestEndedTurnEndsAfterMaxIdle (ends_test.go)
//	RequiresActionIdleDoesNotEndIteration              TestRequiredActionNeverEnds (ends_test.go)
//	ApprovedCallStillExecutingDefersIdleStop           TestRunningCallDefersMaxIdle (ends_test.go)
//	DeferredArmCancelsStalePreDisconnectCountdown      TestTurnBegunWhileAwayCancelsMaxIdle (ends_test.go)
//	RetriedApprovedCallNotCutShortByIdle               TestUnsentResultDefersMaxIdle (ends_test.go)
//	IdleClock_DisarmWinsAgainstPendingArmApply         TestNewTurnCancelsMaxIdle (ends_test.go)
//	SendRetriesOnTransientError                        TestFailedSendNeverRunsTheToolAgain (sends_test.go)
//	SendGivesUpAfterRetryWindow, SendRetryWindow…      TestSendsGoOnAsLongAsTheSessionWantsThem (sends_test.go)
//	IsFatal4xxStatus                                   upstream: TestKindOfStatus
//	ProcessedInterruptSettlesStaleToolCalls            TestProcessedInterruptSettlesStaleCalls (interrupts_test.go)
//	InterruptCancelsRunningTool                        TestInterruptStopsTheToolAndPostsNothing (interrupts_test.go)
//	InterruptReleasesHeldCall                          TestInterruptTakesACallFromTheQueue (interrupts_test.go)
//	InterruptAfterEndTurnLetsRunnerStop                TestInterruptAfterEndTurnLetsMaxIdleEnd (interrupts_test.go)
//	ReconcileInterruptForCallMissingFromHistory…       TestInterruptAloneInTheHistorySettles (interrupts_test.go)
//	PrimaryThreadIDIsNotTakenFromTheLiveStream…        TestPrimaryThreadIsNotGuessedFromTheStream (threads_test.go)

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"toolhand/internal/loop/run"
	"toolhand/internal/registry"
	"toolhand/internal/sim"
	"toolhand/internal/sim/faults"
	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
)

func TestCallIsRunAndAnswered(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		n := r.counted("a")
		id := r.session.CallTool("a", `{"q":"x"}`)
		r.session.RequireAction()
		r.answered(id)
		after(0)
		if res := r.result(id); res.Text() != `{"q":"x"}` || res.IsError {
			t.Errorf("result %+v", res)
		}
		r.ran(n, 1)
		r.ended(id, run.OK)
		r.requests(sim.Send, 1)
		r.requests(sim.Stream, 1)
		r.requests(sim.List, 1)
		after(forgetDelay)
		if r.journal.Len() != 0 {
			t.Errorf("the journal holds %d entries of an answered call", r.journal.Len())
		}
	})
}

func TestEmptyAnswerGetsAPlaceholder(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.tool(registry.Manifest{Name: "quiet", Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
			return content.Text(""), nil
		})})
		id := r.session.CallTool("quiet", `{}`)
		r.session.RequireAction()
		r.answered(id)
		if got := r.result(id).Text(); got != content.NoOutput {
			t.Errorf("result %q", got)
		}
		if len(r.session.Refusals()) != 0 {
			t.Errorf("refused: %v", r.session.Refusals())
		}
	})
}

// A handler that gives nothing at all must not break the batch it is in.
func TestResultWithoutContentGetsAPlaceholder(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.tool(registry.Manifest{Name: "zero", Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
			return tools.Result{}, nil
		})})
		id := r.session.CallTool("zero", `{}`)
		r.session.RequireAction()
		r.answered(id)
		if got := r.result(id).Text(); got != content.NoOutput {
			t.Errorf("result %q", got)
		}
		r.requests(sim.Send, 1)
	})
}

func TestBlocksGoOutAsTheyAre(t *testing.T) {
	const content = `[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}},` +
		`{"type":"text","text":"a picture"}]`
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.tool(registry.Manifest{Name: "draw", Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
			return tools.Result{Content: []byte(content), IsError: true}, nil
		})})
		id := r.session.CallTool("draw", `{}`)
		r.session.RequireAction()
		r.answered(id)
		if res := r.result(id); string(res.Content) != content || !res.IsError {
			t.Errorf("result %s %v", res.Content, res.IsError)
		}
	})
}

func TestInputPassesUnharmed(t *testing.T) {
	const input = `{ "big": 9007199254740993, "neg": -9223372036854775809, "f": 1.10, "s": "<\u0041&>" }`
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.counted("a")
		live := r.session.CallTool("a", input)
		r.session.RequireAction()
		r.answered(live)
		if got := r.result(live).Text(); got != input {
			t.Errorf("live: %s", got)
		}
		// The same by way of the history.
		r.sim.Arm(sim.Fault{Endpoint: sim.Stream, Do: faults.WithholdTypes("agent.custom_tool_use")})
		r.session.CutStreams(false)
		after(5 * time.Second)
		old := r.session.CallTool("a", input)
		r.session.RequireAction()
		r.answered(old)
		if got := r.result(old).Text(); got != input {
			t.Errorf("from the history: %s", got)
		}
	})
}

func TestInputThatBreaksTheSchemaIsAnsweredWithoutARun(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		n := r.slow("strict", 0, func(s *registry.Manifest) {
			s.InputSchema = []byte(`{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]}`)
		})
		bad, good := r.session.CallTool("strict", `{"path":7}`), r.session.CallTool("strict", `{"path":"x"}`)
		r.session.RequireAction()
		r.answered(bad, good)
		after(0)
		if res := r.result(bad); !strings.HasPrefix(res.Text(), `Invalid input for tool "strict":`) || !res.IsError {
			t.Errorf("result %q", res.Text())
		}
		r.ran(n, 1)
		r.ended(bad, run.Invalid)
		r.requests(sim.Send, 1)
	})
}

func TestIgnoredNamesAreLeftToTheirOwner(t *testing.T) {
	ignore := func(o *options) { o.set.IgnoreUnknown, o.set.MaxIdle = true, time.Minute }
	scenario(t, ignore, func(t *testing.T, r *rig) {
		n := r.counted("ours")
		theirs := r.session.CallTool("theirs", `{}`)
		ours := r.session.CallTool("ours", `{}`)
		r.session.RequireAction()
		r.answered(ours)
		after(0)
		r.unanswered(theirs)
		st, _ := r.served.Status(t.Context())
		for _, c := range st.Calls {
			if c.Owed {
				t.Errorf("a call is owed: %+v", c)
			}
		}
		if err := r.session.Answer(theirs, "by its owner"); err != nil {
			t.Error(err)
		}
		r.session.EndTurn()
		after(0)
		r.ran(n, 1)
		r.requests(sim.Send, 1)
		r.over(ReasonIdle)
	})
}

func TestIgnoredNameKeepsAWaitingSession(t *testing.T) {
	ignore := func(o *options) { o.set.IgnoreUnknown, o.set.MaxIdle = true, time.Minute }
	scenario(t, ignore, func(t *testing.T, r *rig) {
		r.session.CallTool("theirs", `{}`)
		r.session.RequireAction()
		after(time.Hour)
		r.stays()
		r.requests(sim.Send, 0)
	})
}

// A name that is ignored is looked at again when the set of tools changes.
func TestIgnoredNameIsRunAfterAReload(t *testing.T) {
	scenario(t, func(o *options) { o.set.IgnoreUnknown = true }, func(t *testing.T, r *rig) {
		id := r.session.CallTool("new", `{}`)
		r.session.RequireAction()
		after(time.Hour)
		r.unanswered(id)
		n := r.counted("new")
		r.served.Reload()
		r.answered(id)
		r.ran(n, 1)
	})
}

func TestUnknownToolIsAnswered(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		id := r.session.CallTool("nobody", `{}`)
		r.session.RequireAction()
		r.answered(id)
		after(0)
		if res := r.result(id); res.Text() != "Unknown tool: nobody" || !res.IsError {
			t.Errorf("result %q", res.Text())
		}
		r.ended(id, run.UnknownTool)
	})
}

func TestPanicIsAResult(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		r.tool(registry.Manifest{Name: "bad", Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
			panic("oh no, sesame")
		})})
		n := r.counted("good")
		bad, good := r.session.CallTool("bad", `{}`), r.session.CallTool("good", `{}`)
		r.session.RequireAction()
		r.answered(bad, good)
		after(0)
		if res := r.result(bad); !res.IsError || strings.Contains(res.Text(), "sesame") {
			t.Errorf("result %q", res.Text())
		}
		if log := r.log.String(); !strings.Contains(log, "sesame") || !strings.Contains(log, "scenarios_test.go") {
			t.Error("the log lacks the panic or its stack")
		}
		r.ran(n, 1)
		r.ended(bad, run.Failed)
	})
}

// A tool's slot is free when it panics.
func TestPanicFreesTheSlot(t *testing.T) {
	scenario(t, func(o *options) { o.slots = 1 }, func(t *testing.T, r *rig) {
		r.tool(registry.Manifest{Name: "bad", Concurrency: 1, Handler: handlerFunc(func(context.Context, tools.Call) (tools.Result, error) {
			panic("again")
		})})
		ids := []string{r.session.CallTool("bad", `{}`), r.session.CallTool("bad", `{}`), r.session.CallTool("bad", `{}`)}
		r.session.RequireAction()
		r.answered(ids...)
		after(0)
		if r.slots.Held() != 0 {
			t.Errorf("%d slots are held", r.slots.Held())
		}
	})
}

func TestAnsweredElsewhereStopsTheTool(t *testing.T) {
	scenario(t, nil, func(t *testing.T, r *rig) {
		n := r.slow("slow", time.Hour, deadline(2*time.Hour, "2h"))
		id := r.session.CallTool("slow", `{}`)
		r.session.RequireAction()
		after(time.Second)
		if err := r.session.Answer(id, "by another"); err != nil {
			t.Fatal(err)
		}
		after(0)
		if !errors.Is(n.cause(), errElsewhere) {
			t.Errorf("the tool was stopped with %v", n.cause())
		}
		after(time.Minute)
		r.requests(sim.Send, 0)
		r.ended(id, run.Elsewhere)
	})
}

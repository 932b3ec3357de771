package main

// fault is a change that a test must notice.
type fault struct {
	what     string
	file     string
	old, new string   // old stands once in the file
	tests    []string // the arguments of go test
}

var faults = []fault{
	{"a deaf handler keeps its tool's slot for hours", "internal/loop/run/run.go",
		"slotGrace = 15 * time.Second", "slotGrace = 15000 * time.Second", []string{"-run", "TestDeafHandler", "./internal/loop/run"}},
	{"a deaf handler frees its tool's slot at once", "internal/loop/run/run.go",
		"slotGrace = 15 * time.Second", "slotGrace = 15 * time.Nanosecond", []string{"-run", "TestDeafHandler", "./internal/loop/run"}},
	{"a call begins in the slot of one that is interrupted with it", "internal/loop/run/run.go",
		"if r.Gate != nil {", "if false {", []string{"-run", "TestGateHoldsBack", "./internal/loop/run"}},
	{"a call that was stopped while its start was written is run", "internal/loop/run/run.go",
		"	if r.ctx.Err() != nil {\n		return context.Cause(r.ctx)\n	}\n	r.move(handling)", "	r.move(handling)", []string{"-run", "TestStopBetweenTheSteps", "./internal/loop/run"}},
	{"a start that was written for a call taken back stays", "internal/loop/calls.go",
		"l.unstart(c, end.Started)", "l.unstart(c, false)", []string{"-run", "TestDrain", "./internal/loop"}},

	{"a server takes a name that another manifest says", "internal/registry/group.go",
		"return a.owners[name] == \"\" || a.owners[name] == g.file", "return true", []string{"-run", "TestNamesBelong", "./internal/registry"}},
	{"what is not checked refuses what it turns round", "internal/schema/pattern.go",
		"case at == asPart && loose && turns(key.Text):", "case false:", []string{"-run", "TestUnchecked", "./internal/schema"}},

	{"what a damaged journal may have lost is not doubted", "internal/loop/reads.go",
		"doubted := l.set.Doubt && l.reading.last.IsZero()", "doubted := false", []string{"./internal/loop"}},
	{"every later read is doubted too", "internal/loop/reads.go",
		"doubted := l.set.Doubt && l.reading.last.IsZero()", "doubted := l.set.Doubt", []string{"./internal/loop"}},
	{"what the API processed before the damage is not doubted", "internal/loop/reads.go",
		"e.ProcessedAt.After(l.set.DoubtUntil)", "true", []string{"-run", "Doubt", "./internal/loop"}},
	{"what a dead worker's calls left running is not stopped", "internal/loop/session.go",
		"return s.cfg.StopLeft(left)", "return nil", []string{"-run", "TestRecoverStopsWhatIsLeft", "./internal/loop"}},
	{"that it could not be looked for is taken for nothing being left", "internal/loop/session.go",
		"err == nil && left == nil", "err == nil", []string{"-run", "TestRecoverStopsWhatIsLeft", "./internal/loop"}},
	{"a lack of file descriptors is taken for no process", "internal/tools/proctree/proc_linux.go",
		"return err != nil && !errors.Is(err, unix.ENOENT) &&", "return err != nil && !errors.Is(err, unix.EMFILE) && !errors.Is(err, unix.ENOENT) &&", []string{"-run", "TestStopLeftSeesNothing", "./internal/tools/proctree"}},
	{"a foreign cgroup is swept", "internal/tools/proctree/cgroup_linux.go",
		"!groupName.MatchString(filepath.Base(dir))", "false", []string{"-run", "TestForeignCgroup", "./internal/tools/proctree"}},
	{"a recovered session waits with the quiet ones", "internal/loop/session.go",
		"		s.urgent.Store(s.ledger.owed() > 0)\n	}\n", "	}\n", []string{"-run", "TestRecoveredSessionIsUrgent", "./internal/loop"}},
	{"a number in a refusal makes other words of it", "internal/loop/refusals.go",
		"strings.ContainsAny(w, \"0123456789\")", "false", []string{"-run", "TestRefusalOfTheWholeSend", "./internal/loop"}},
	{"a call that needs permission runs without it", "internal/loop/permission.go",
		"return e.Permission\n}", "return upstream.PermissionAllow\n}", []string{"-run", "Held", "./internal/loop"}},
	{"redirects of the API are followed", "internal/upstream/transport.go",
		"error { return http.ErrUseLastResponse }", "error { return nil }", []string{"./internal/upstream"}},
	{"a client may be answered on any subject", "internal/bus/requests.go",
		"len(args) == 2+sizes && !r.own(args[1])", "false", []string{"-run", "Intruder", "./internal/bus"}},
	{"a client may name inboxes that begin like its own", "internal/bus/requests.go",
		"strings.HasPrefix(reply, r.inbox+\".\")", "strings.HasPrefix(reply, r.inbox)", []string{"-run", "Forward", "./internal/bus"}},
	{"a client takes another name after its CONNECT", "internal/bus/requests.go",
		"r.inbox != \"\" {", "false {", []string{"-run", "Forward", "./internal/bus"}},
}

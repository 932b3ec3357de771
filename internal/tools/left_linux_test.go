package tools_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"toolhand/internal/tools"
)

// leftCall is a call that a dead worker has started.
func leftCall(id, deadline string) tools.Call {
	at, err := time.Parse(time.RFC3339Nano, deadline)
	if err != nil {
		panic(err)
	}
	return tools.Call{ID: id, Tool: "family", Session: "sesn_left", Input: []byte(`{}`), Deadline: at}
}

// markedParent plays a worker without cgroups.
func markedParent(dir, id, deadline string) int {
	return parentOf(dir, "env -i daemon", leftCall(id, deadline), tools.NewMarkedProcesses)
}

// TestStopLeft kills two workers, and stops what one of them has left.
func TestStopLeft(t *testing.T) {
	procs := newProcs(t, func() (*tools.Processes, error) { return tools.NewMarkedProcesses(nil) })
	dir := publicDir(t)
	deadline := time.Now().Add(time.Hour).Format(time.RFC3339Nano)
	for _, id := range []string{"sevt_gone", "sevt_stays"} {
		to := filepath.Join(dir, id)
		if err := os.Mkdir(to, 0o777); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], childArg, "marked parent", to, id, deadline)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a tool", func() bool { return len(pids(to)) == 1 })
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if len(survivors(to)) != 1 {
			t.Errorf("the tool of %s ended with its worker, so that this shows nothing", id)
		}
	}
	if n := procs.StopLeft(nil); n != 0 {
		t.Errorf("%d processes of no call", n)
	}
	if n := procs.StopLeft([]tools.Call{leftCall("sevt_other", deadline), leftCall("sevt_gone", deadline)}); n < 1 {
		t.Errorf("%d processes were left, want at least 1", n)
	}
	if left := survivors(filepath.Join(dir, "sevt_gone")); len(left) > 0 {
		t.Errorf("left of the call: %v", left)
	}
	if len(survivors(filepath.Join(dir, "sevt_stays"))) != 1 {
		t.Error("another call's tool is gone")
	}
	procs.StopLeft([]tools.Call{leftCall("sevt_stays", deadline)})
	if left := survivors(filepath.Join(dir, "sevt_stays")); len(left) > 0 {
		t.Errorf("left of the second: %v", left)
	}
}

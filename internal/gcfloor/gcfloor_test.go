package gcfloor

import (
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
)

func TestPercent(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		floor, live uint64
		want        int
	}{
		{64 * mb, 0, 1600}, // Go's least heap, 4 MB, times 16
		{64 * mb, 4 * mb, 1500},
		{64 * mb, 16 * mb, 300},
		{64 * mb, 32 * mb, 100},
		{64 * mb, 33 * mb, 100},
		{64 * mb, 500 * mb, 100},
		{1 * mb, 0, 100},
	} {
		if got := percent(c.floor, c.live); got != c.want {
			t.Errorf("percent(%d MB, %d MB) = %d, want %d", c.floor/mb, c.live/mb, got, c.want)
		}
	}
}

// TestChild is what the other tests run in a process of its own, since GOGC is
// the process's.
func TestChild(t *testing.T) {
	if os.Getenv("GCFLOOR_CHILD") == "" {
		t.Skip("run by the other tests")
	}
	Set(64 << 20)
	if os.Getenv("GOGC") != "" {
		if p := current(); p != 70 {
			t.Errorf("GOGC is %d, want the 70 of the environment", p)
		}
		return
	}
	// After some collections that found little, it is still many times the usual.
	for range 3 {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	if p := current(); p < 5*usual {
		t.Errorf("GOGC is %d with next to nothing that lives", p)
	}
	// What lives is past the floor: the usual ratio must come back by itself.
	kept := make([]byte, 80<<20)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		runtime.GC()
		p := current()
		if p == usual {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("GOGC is still %d with 80 MB that live", p)
		}
	}
	runtime.KeepAlive(kept)
}

// current is the GOGC in force.
func current() int {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return int(s[0].Value.Uint64())
}

func child(t *testing.T, env ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$")
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "GOGC=") && !strings.HasPrefix(e, "GOMEMLIMIT=") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "GCFLOOR_CHILD=1")
	cmd.Env = append(cmd.Env, env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestHeapGrowsToTheFloor(t *testing.T) {
	child(t)
}

func TestOperatorsGOGCStays(t *testing.T) {
	child(t, "GOGC=70")
}

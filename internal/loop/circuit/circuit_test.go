package circuit

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errRefused = errors.New("connection refused")

// Repeated failures open the circuit, one call at a time is let through, and
// whatever gets through closes it. Other tools are not concerned.
func TestOpensAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Circuits
		for i := range Failures {
			if err := c.Allow("a"); err != nil {
				t.Fatalf("closed after %d failures: %v", i, err)
			}
			if opened := c.Failed("a", errRefused, false); opened != (i == Failures-1) {
				t.Fatalf("failure %d opened it: %t", i, opened)
			}
		}
		var open *OpenError
		if err := c.Allow("a"); !errors.As(err, &open) || !errors.Is(err, errRefused) ||
			!strings.HasPrefix(err.Error(), "5 attempts in a row") || !strings.HasSuffix(err.Error(), "tried again in 10s") {
			t.Fatalf("open: %v", err)
		}
		if err := c.Allow("b"); err != nil {
			t.Errorf("another tool: %v", err)
		}
		time.Sleep(Cooldown)
		if err := c.Allow("a"); err != nil {
			t.Errorf("after the cooldown: %v", err)
		}
		if err := c.Allow("a"); err == nil {
			t.Error("two calls were let through at once")
		}
		if st := c.Status("a"); !st.Open || st.Failures != Failures || st.Why != errRefused.Error() {
			t.Errorf("status %+v", st)
		}
		if !c.Reached("a") || c.Reached("a") {
			t.Error("reached: not closed once")
		}
		if err := c.Allow("a"); err != nil || c.Status("a") != (Status{}) {
			t.Errorf("after it was reached: %v, %+v", err, c.Status("a"))
		}
	})
}

// Attempts that are repeated anyway open it only when nothing got through for
// long.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Circuits
		for range 10 * Failures {
			if c.Failed("a", errRefused, true) {
				t.Fatal("a moment of absence opened it")
			}
		}
		time.Sleep(Patience)
		if !c.Failed("a", errRefused, true) || c.Allow("a") == nil {
			t.Error("a long absence did not open it")
		}
	})
}

// No circuits at all never stand in the way.
func TestNil(t *testing.T) {
	var c *Circuits
	if c.Failed("a", errRefused, false) || c.Allow("a") != nil || c.Reached("a") || c.Status("a") != (Status{}) {
		t.Error("a nil circuit opened")
	}
}

package testkit_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"toolhand/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWithin(t *testing.T) {
	n := 0
	if !testkit.Within(testkit.Patience, func() bool { n++; return n == 3 }) || n != 3 {
		t.Errorf("asked %d times, want 3", n)
	}
	if testkit.Within(5*time.Millisecond, func() bool { return false }) {
		t.Error("what never is was reported")
	}
}

func TestSample(t *testing.T) {
	for env, want := range map[string]int{"": 3, "full": 100} {
		t.Setenv("TOOLHAND_TEST", env)
		if n := testkit.Sample(100, 3); n != want {
			t.Errorf("%q: %d, want %d", env, n, want)
		}
	}
}

func TestSome(t *testing.T) {
	all := map[string]int{"a": 1, "b": 2, "c": 3}
	for env, want := range map[string]int{"": 2, "full": 3} {
		t.Setenv("TOOLHAND_TEST", env)
		some := testkit.Some(all, 2)
		for name, c := range some {
			if all[name] != c {
				t.Errorf("%q: %s is %d", env, name, c)
			}
		}
		if len(some) != want {
			t.Errorf("%q: %d cases, want %d", env, len(some), want)
		}
	}
}

func TestNumber(t *testing.T) {
	for env, want := range map[string]int{"": 3, "100": 100} {
		t.Setenv("CRASHES", env)
		if n := testkit.Number(t, "CRASHES", 3); n != want {
			t.Errorf("%q: %d, want %d", env, n, want)
		}
	}
}

func TestEnough(t *testing.T) {
	for n, skipped := range map[int]bool{1: true, 2: false, 3: false} {
		t.Run("", func(t *testing.T) {
			t.Cleanup(func() {
				if t.Skipped() != skipped {
					t.Errorf("%d of 2: skipped: %t", n, t.Skipped())
				}
			})
			testkit.Enough(t, n, 2, "calls")
		})
	}
}

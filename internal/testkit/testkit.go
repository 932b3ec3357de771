// Package testkit has what the tests of several packages share: one way to wait, and
// one way to tell a run in full from a sample. It is in no binary.
package testkit

import (
	"os"
	"testing"
	"time"
)

// Patience is how long [Eventually] waits. A test that passes never waits that long;
// a busy machine is no fault.
const Patience = 30 * time.Second

// Eventually waits until ok reports true. The test ends as failed where it does not
// within [Patience]; what says what it waited for.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !Within(Patience, ok) {
		t.Fatalf("not within %s: %s", Patience, what)
	}
}

// Within reports whether ok reports true before the time is over.
func Within(d time.Duration, ok func() bool) bool {
	for end := time.Now().Add(d); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// fullEnv is the variable that `make test` sets.
const fullEnv = "TOOLHAND_TEST"

// Full reports whether TOOLHAND_TEST is full: tests with many seeds, rounds or worlds
// run all of them then, else a sample.
func Full() bool { return os.Getenv(fullEnv) == "full" }

// Sample gives how much of something a test does: all where it runs in full, else some.
func Sample(all, some int) int {
	if Full() {
		return all
	}
	return some
}

// OnlyInFull skips a test, by name, unless the tests run in full.
func OnlyInFull(t testing.TB) {
	t.Helper()
	if !Full() {
		t.Skip("a long test: it runs in full only (" + fullEnv + "=full, as `make test` sets it)")
	}
}

// Package testkit has what the tests of several packages share: one way to wait, one to
// say that a machine is too slow, one to tell a run in full from a sample, and one to let
// tests wait beside one another. It is in no binary.
package testkit

import (
	"flag"
	"os"
	"strconv"
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

// Enough ends a test that saw too little to show anything: n of what, of the least that
// it needs. None at all is a fault. Some mean that the machine is too slow, which is none:
// the test is skipped, by name. What can be repeated is, before Enough is asked.
func Enough(t testing.TB, n, least int, what string) {
	t.Helper()
	switch {
	case n == 0:
		t.Fatalf("no %s", what)
	case n < least:
		t.Skipf("NOT TESTED: too slow to show anything: %d %s, of %d", n, what, least)
	}
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

// Some gives some cases of a table, others each time; all where a test runs in full.
func Some[K comparable, V any](all map[K]V, some int) map[K]V {
	few := map[K]V{}
	for name, c := range all {
		if len(few) == Sample(len(all), some) {
			break
		}
		few[name] = c
	}
	return few
}

// Number gives how much of something a test does: what a variable says, else otherwise.
func Number(t testing.TB, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// OnlyInFull skips a test, by name, unless the tests run in full.
func OnlyInFull(t testing.TB) {
	t.Helper()
	if !Full() {
		t.Skip("a long test: it runs in full only (" + fullEnv + "=full, as `make test` sets it)")
	}
}

// SideBySide lets n parallel tests of a package run at a time, unless -parallel says
// how many: the processors bound those that work, and not those that wait. In full they
// work, and it does nothing. TestMain asks for it.
func SideBySide(n int) {
	if Full() {
		return
	}
	if err := flag.Set("test.parallel", strconv.Itoa(n)); err != nil {
		panic(err) // TestMain is called by what has defined it
	}
}

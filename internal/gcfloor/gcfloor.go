// Package gcfloor keeps the garbage collector from running more often than a
// server needs: a heap is let grow to a floor, whatever of it lives.
//
// A worker with 200 sessions has 12 MB that live and makes 25 KB of garbage a
// turn, so that with GOGC=100 it collects every 500 turns, and each collection
// shrinks stacks that grow again at once: together a tenth of its CPU. Go has no
// setting for a least heap: GOGC knows ratios, GOMEMLIMIT only an upper bound. So
// the ratio is set anew after each collection, from what was found to live. Above
// the floor it is Go's default, and memory per session is not touched.
package gcfloor

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Size is the floor that the worker uses, in bytes.
const Size = 64 << 20

const (
	// usual is Go's default of GOGC, in percent.
	usual = 100
	// least is the heap that Go does not collect below with GOGC=100.
	least = 4 << 20
)

// Set lets the heap grow to floor bytes before it is collected, for the rest of
// the process's life. It leaves alone a process whose environment sets GOGC, and
// changes nothing about a limit set with GOMEMLIMIT, which goes before the floor.
// It is called once, at the start.
func Set(floor uint64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	adjust(floor, 0)
}

// adjust sets the ratio, which was old, and does so again after each collection.
func adjust(floor uint64, old int) {
	now := percent(floor, live())
	// Setting it stops the world for a moment, so small steps are left out.
	if now > old+old/10 || now < old-old/10 || now == usual && old != usual {
		debug.SetGCPercent(now)
		old = now
	}
	// What nothing refers to is found by the next collection. It holds a
	// pointer, so that it doesn't share its place with other small objects.
	runtime.AddCleanup(&struct{ _ *byte }{}, func(old int) { adjust(floor, old) }, old)
}

// percent is the GOGC with which a heap of which live bytes live is collected at
// the floor, and the usual one above.
func percent(floor, live uint64) int {
	if live < least {
		return max(usual, int(floor*usual/least))
	}
	if live*2 >= floor {
		return usual
	}
	return int((floor - live) * 100 / live)
}

// live is how many bytes lived at the end of the last collection; 0 before one.
func live() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64()
}

package main

// measureOf says how a target compares.
type measureOf string

const (
	timesLimit  measureOf = "x limit"     // at most so many times the limit's
	partOfLimit measureOf = "of limit"    // at least this part of the limit's
	overWorker  measureOf = "µs more"     // at most so much more than without a journal
	syncsOver   measureOf = "fdatasyncs"  // the same, in fdatasyncs of the same run
	atLeast     measureOf = "at least"    //
	atMost      measureOf = "at most"     //
	addsAtMost  measureOf = "added by us" // 15 % of the bare call or 100 µs, whichever is more
	handlerPart           = 0.15          //
	handlerMin            = 100           // µs
)

// target is what a competitor has to reach.
type target struct {
	who   string
	what  figure
	by    measureOf
	value float64
}

// targets are those of the project, worker over limit.
var targets = []target{
	{theWorker, latency1, timesLimit, 1.3},
	{theWorker, latency1p99, timesLimit, 1.5},
	{theWorker, latencyN, timesLimit, 1.3},
	{theWorker, latencyNp99, timesLimit, 1.5},
	{theWorker, throughput, partOfLimit, 0.75},
	{theWorker, cpu, timesLimit, 1.6},
	{theWorker, turn8, timesLimit, 1.05},
	{theWorker, requests8, timesLimit, 1},
	{theWorker, memoryHTTP1 + "_2000", timesLimit, 1.2},
	{theWorker, memoryHTTP1 + "_10000", timesLimit, 1.2},
	{theWorker, memoryHTTP2 + "_2000", timesLimit, 1.2},
	{theWorker, memoryHTTP2 + "_10000", timesLimit, 1.2},
	{withInterval, latency1, overWorker, 150},
	{withInterval, throughput, partOfLimit, 0.6},
	{withAlways, latency1, syncsOver, 3.5},
	{withAlways, throughput, atLeast, 1200},
	{theWorker, startReady, atMost, 150},
	{"exec", handlerAdded, addsAtMost, 0},
	{"http", handlerAdded, addsAtMost, 0},
	{"nats", handlerAdded, addsAtMost, 0},
	{"mcp", handlerAdded, addsAtMost, 0},
}

// verdict is a target and what was reached.
type verdict struct {
	Who     string    `json:"who"`
	What    figure    `json:"what"`
	Target  float64   `json:"target"`
	By      measureOf `json:"by"`
	Reached float64   `json:"reached"`
	Met     bool      `json:"met"`
	// Spoilt says that a figure in it has no undisturbed sample.
	Spoilt bool `json:"spoilt,omitempty"`
}

// judge compares what was measured with the targets. One whose figures are
// missing is left out.
func judge(f *figures) []verdict {
	var all []verdict
	for _, t := range targets {
		v := verdict{Who: t.who, What: t.what, Target: t.value, By: t.by}
		own, ok := f.median(t.who, t.what)
		if !ok || !v.compare(f, own) {
			continue
		}
		v.Spoilt = f.isSpoilt(t.who, t.what)
		if t.by == timesLimit || t.by == partOfLimit {
			v.Spoilt = v.Spoilt || f.isSpoilt(theLimit, t.what)
		}
		if t.by == overWorker || t.by == syncsOver {
			v.Spoilt = v.Spoilt || f.isSpoilt(theWorker, t.what)
		}
		all = append(all, v)
	}
	return all
}

// compare fills in what was reached, and reports whether there is something to
// compare with.
func (v *verdict) compare(f *figures, own float64) bool {
	limit, hasLimit := f.median(theLimit, v.What)
	plain, hasPlain := f.median(theWorker, v.What)
	v.Reached = own
	switch v.By {
	case timesLimit, partOfLimit:
		if !hasLimit || limit == 0 {
			return false
		}
		v.Reached = own / limit
		v.Met = v.Reached <= v.Target
		if v.By == partOfLimit {
			v.Met = v.Reached >= v.Target
		}
	case overWorker:
		v.Reached = own - plain
		v.Met = v.Reached <= v.Target
		return hasPlain
	case syncsOver:
		sync, ok := f.median(theDisk, diskSync)
		if !ok || !hasPlain {
			return false
		}
		v.Reached = (own - plain) / sync
		v.Met = v.Reached <= v.Target
	case atLeast:
		v.Met = own >= v.Target
	case atMost:
		v.Met = own <= v.Target
	case addsAtMost:
		bare, ok := f.median(v.Who, handlerBare)
		v.Target = max(handlerMin, handlerPart*bare)
		v.Met = own <= v.Target
		return ok
	}
	return true
}

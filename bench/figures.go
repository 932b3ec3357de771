package main

import (
	"slices"
	"sync"
)

// figure names something that is measured. The names stand in the JSON.
type figure string

// The figures of a competitor.
const (
	latency1     figure = "latency_1_p50_us"   // one session, a call after another
	latency1p99  figure = "latency_1_p99_us"   //
	latencyN     figure = "latency_200_p50_us" // 200 sessions, paced
	latencyNp99  figure = "latency_200_p99_us" //
	throughput   figure = "throughput_200_calls_per_s"
	cpu          figure = "cpu_s_per_10000_calls"
	turn8        figure = "turn_8x200ms_ms"
	requests8    figure = "requests_of_the_turn"
	diskSync     figure = "fdatasync_500_bytes_us"
	othersUsed   figure = "machine_used_by_others"
	startReady   figure = "start_to_ready_ms"
	allocsACall  figure = "allocations_per_call"
	memoryHTTP1  figure = "memory_per_quiet_session_http1_bytes"
	memoryHTTP2  figure = "memory_per_quiet_session_http2_bytes"
	handlerBare  figure = "handler_without_toolhand_us"
	handlerOwn   figure = "handler_with_toolhand_us"
	handlerAdded figure = "handler_added_us"
)

// The competitors, and others who have figures.
const (
	theLimit     = "limit"
	theSDK       = "sdk"
	theWorker    = "worker"
	withInterval = "worker interval"
	withAlways   = "worker always"
	theDisk      = "disk"
)

// figures are the samples of a run, one a round.
type figures struct {
	mu      sync.Mutex
	samples map[string]map[figure][]float64 // guarded by mu; by competitor
	// spoilt are those of visits that others disturbed to the last try. They
	// count only where a figure has no others.
	spoilt map[string]map[figure][]float64 // guarded by mu
}

func newFigures() *figures {
	return &figures{samples: map[string]map[figure][]float64{}, spoilt: map[string]map[figure][]float64{}}
}

func (f *figures) add(who string, what figure, value float64) {
	f.put(f.samples, who, what, value)
}

// spoil adds a sample that others have disturbed.
func (f *figures) spoil(who string, what figure, value float64) {
	f.put(f.spoilt, who, what, value)
}

func (f *figures) put(to map[string]map[figure][]float64, who string, what figure, value float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if to[who] == nil {
		to[who] = map[figure][]float64{}
	}
	to[who][what] = append(to[who][what], value)
}

// isSpoilt reports whether all there is of a figure was disturbed.
func (f *figures) isSpoilt(who string, what figure) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.samples[who][what]) == 0 && len(f.spoilt[who][what]) > 0
}

func (f *figures) addAll(who string, values map[figure]float64) {
	for what, v := range values {
		f.add(who, what, v)
	}
}

// median is the median of the rounds, and whether there are any.
func (f *figures) median(who string, what figure) (float64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := slices.Clone(f.samples[who][what])
	if len(s) == 0 {
		s = slices.Clone(f.spoilt[who][what])
	}
	if len(s) == 0 {
		return 0, false
	}
	slices.Sort(s)
	return quantile(s, 0.5), true
}

// quantile is a quantile of sorted values.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	if q == 0.5 && len(sorted)%2 == 0 {
		return (sorted[len(sorted)/2-1] + sorted[len(sorted)/2]) / 2
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

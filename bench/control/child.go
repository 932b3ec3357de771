package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
)

// request is one line to a child.
type request struct {
	Do   string          `json:"do"`
	With json.RawMessage `json:"with,omitempty"`
}

// answer is one line from a child.
type answer struct {
	Error string          `json:"error,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// Actions are what a child can be asked to do, by name. Each gets the request's
// argument as JSON, and returns what is answered.
type Actions map[string]func(with json.RawMessage) (any, error)

// Action makes an action of a function with a typed argument.
func Action[In any](do func(In) (any, error)) func(json.RawMessage) (any, error) {
	return func(with json.RawMessage) (any, error) {
		var in In
		if err := json.Unmarshal(with, &in); err != nil {
			return nil, err
		}
		return do(in)
	}
}

// Usage is what a process has used so far.
type Usage struct {
	// CPU is user and system time in seconds.
	CPU float64 `json:"cpu"`
	// RSS is the resident memory in bytes, after a collection where one was
	// asked for.
	RSS        int64  `json:"rss"`
	Heap       uint64 `json:"heap"`
	Stacks     uint64 `json:"stacks"`
	Goroutines int    `json:"goroutines"`
	Mallocs    uint64 `json:"mallocs"`
	Allocated  uint64 `json:"allocated"`
}

// Serve answers requests until the input ends. Besides the given actions it has
// "usage" (with true: after a collection) and "profile" (with a file's name:
// from now on; with an empty one: until now).
func Serve(in io.Reader, out io.Writer, actions Actions) error {
	var profile *os.File
	defer func() {
		if profile != nil {
			pprof.StopCPUProfile()
			profile.Close()
		}
	}()
	own := Actions{
		"usage": Action(func(collect bool) (any, error) { return usage(collect) }),
		"heap": Action(func(path string) (any, error) {
			f, err := os.Create(path)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			runtime.GC()
			return nil, pprof.WriteHeapProfile(f)
		}),
		"profile": Action(func(path string) (any, error) {
			if path == "" {
				if profile == nil {
					return nil, errors.New("no profile is under way")
				}
				pprof.StopCPUProfile()
				err := profile.Close()
				profile = nil
				return nil, err
			}
			var err error
			if profile, err = os.Create(path); err != nil {
				return nil, err
			}
			return nil, pprof.StartCPUProfile(profile)
		}),
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	enc := json.NewEncoder(out)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("control: %w", err)
		}
		do := actions[r.Do]
		if do == nil {
			do = own[r.Do]
		}
		if err := enc.Encode(carryOut(r, do)); err != nil {
			return err
		}
	}
	return lines.Err()
}

func carryOut(r request, do func(json.RawMessage) (any, error)) (a answer) {
	if do == nil {
		a.Error = "unknown action " + strconv.Quote(r.Do)
		return a
	}
	value, err := do(r.With)
	if err == nil {
		a.Value, err = json.Marshal(value)
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func usage(collect bool) (Usage, error) {
	if collect {
		runtime.GC()
		debug.FreeOSMemory()
	}
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return Usage{}, err
	}
	rss, err := residentBytes()
	if err != nil {
		return Usage{}, err
	}
	u := Usage{CPU: seconds(ru.Utime) + seconds(ru.Stime), RSS: rss, Goroutines: runtime.NumGoroutine()}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.Heap, u.Stacks, u.Mallocs, u.Allocated = m.HeapInuse, m.StackInuse, m.Mallocs, m.TotalAlloc
	return u, nil
}

func seconds(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

// residentBytes reads the process's own resident memory.
func residentBytes() (int64, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("control: /proc/self/statm is %q", text)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

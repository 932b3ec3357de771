package handlertest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// checkLeaks compares, when the test and all its clean-ups are over, what there
// is with what there was.
func checkLeaks(t *testing.T) {
	known := goleak.IgnoreCurrent()
	files, below := openFiles(), descendants()
	t.Cleanup(func() {
		if err := goleak.Find(known); err != nil {
			t.Errorf("goroutines are left: %v", err)
		}
		until := time.Now().Add(2 * time.Second)
		for openFiles() > files || descendants() > below {
			if time.Now().After(until) {
				t.Errorf("%d file descriptors and %d processes are left", openFiles()-files, descendants()-below)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

// openFiles counts this process's file descriptors; 0 where no directory tells.
func openFiles() int {
	names, _ := filepath.Glob("/dev/fd/*")
	return len(names)
}

// descendants counts the processes below this one, zombies too; 0 where /proc
// does not tell.
func descendants() int {
	parents := map[int]int{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		fields := strings.Fields(string(line[strings.LastIndexByte(string(line), ')')+1:]))
		parents[pid], _ = strconv.Atoi(fields[1])
	}
	count := 0
	for pid := range parents {
		for up := parents[pid]; up != 0; up = parents[up] {
			if up == os.Getpid() {
				count++
				break
			}
		}
	}
	return count
}

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestDamagedStore damages the journal of a worker that was killed in a call. The
// next ones must not take what they can't read for calls that never began.
func TestDamagedStore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, files string }{
		{"records", "msgs/*.blk"},
		{"description", "meta.inf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLoad(t, 1, map[string]string{
				"tools.d/stay.sh": stayTool, "tools.d/stay.yaml": manifestOf("stay", "stay.sh", "5m", false),
			})
			s := l.all[0]
			id := l.call(s, "stay")
			s.RequireAction()
			first := l.launch(t, "run1")
			awaitPIDs(t, filepath.Join(l.dir, "tools.d/pids"))
			first.kill()
			files, err := filepath.Glob(filepath.Join(l.dir, "data/jetstream/toolhand/streams/KV_toolhand_calls", c.files))
			if err != nil || len(files) == 0 {
				t.Fatalf("no files %s: %v", c.files, err)
			}
			for _, f := range files {
				if err := os.WriteFile(f, []byte(strings.Repeat("garbage ", 40)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			// The second one sees the damage and dies before it has answered.
			second := startIn(t, l.dir, "run2", append(slices.Clone(l.env), "ANTHROPIC_BASE_URL=http://127.0.0.1:1"), "worker", "run")
			if _, err := second.until(until("the journal was damaged")); err != nil {
				t.Fatalf("%v:\n%s", err, second.text())
			}
			second.kill()
			look := l.call(s, "look")
			s.RequireAction()
			third := l.launch(t, "run3")
			l.answered(t, third, time.Minute)
			if got, _ := s.Result(id); !got.IsError || !strings.Contains(got.Text(), "was interrupted by a worker restart: its outcome is unknown") {
				t.Errorf("the answer is %q", got.Text())
			}
			if got, _ := s.Result(look); got.IsError {
				t.Errorf("a tool that is idempotent was not run: %q", got.Text())
			}
			if v := l.judge(t); v.unknown != 1 {
				t.Errorf("%+v", v)
			}
		})
	}
}

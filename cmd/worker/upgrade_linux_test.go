package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFilesOfAnOlderVersion starts on a store, a configuration and manifests that
// the version before the store's witness, the owners of trees and version 2 of the
// SDK has made (testdata/upgrade): it was killed while one call had its result,
// one ran and one waited in the job queue. All goes on as with its own files, and
// nothing of them counts as damage.
func TestFilesOfAnOlderVersion(t *testing.T) {
	t.Parallel()
	p := &pair{dir: t.TempDir()}
	if err := os.CopyFS(p.dir, os.DirFS("testdata/upgrade")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-xzf", filepath.Join(p.dir, "store.tar.gz"), "-C", p.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "GORACE=atexit_sleep_ms=0", "ANTHROPIC_API_KEY=any"}
	for _, args := range [][]string{{"config", "check"}, {"tools", "check"}} {
		r := p.launch(t, args[0], env, args...)
		p.ends(t, r)
	}
	p.sim = p.launch(t, "sim", env, "sim", "--listen", "127.0.0.1:0", "--script", "session.yaml", "--keep-ids", "--exit")
	env = append(env, "ANTHROPIC_BASE_URL="+p.until(t, p.sim, `"url":"([^"]+)"`))
	p.work = p.launch(t, "run", env, "run")
	p.until(t, p.work, `"msg":"journal open".*("entries":3)`)
	p.ends(t, p.sim) // it got the results that its script expects
	if err := p.work.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.ends(t, p.work)
	for _, bad := range []string{"damage", `"level":"ERROR"`} {
		if strings.Contains(p.work.text(), bad) {
			t.Errorf("the log has %q:\n%s", bad, p.work.text())
		}
	}
	if left, _ := filepath.Glob(filepath.Join(p.dir, "data", "damaged-*")); len(left) > 0 {
		t.Errorf("set aside: %v", left)
	}
	if text := p.work.text(); strings.Contains(text, `"msg":"call started","session":"sesn_before","tool":"slow"`) {
		t.Errorf("a call that was started ran again:\n%s", text)
	}
}

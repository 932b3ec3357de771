package exec_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"toolhand/internal/tools"
	toolexec "toolhand/internal/tools/exec"
	"toolhand/internal/tools/handlertest"
)

// TestNoexec runs a program where the system executes nothing, before and after it was
// mounted so. Only root can mount.
func TestNoexec(t *testing.T) {
	dir := t.TempDir()
	err := syscall.Mount("none", dir, "tmpfs", 0, "size=64k")
	if errors.Is(err, syscall.EPERM) && (os.Geteuid() != 0 || os.Getenv("CI") == "") {
		t.Skip("NOT TESTED: this user can't mount a tmpfs")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	write(t, filepath.Join(dir, "x.sh"), "#!/bin/sh\necho ok\n")
	procs := handlertest.Processes(t)
	cfg, common := toolexec.Config{Command: []string{"./x.sh"}}, tools.Common{Name: "x", Dir: dir}
	h, err := toolexec.New(cfg, common, procs)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", dir, "", syscall.MS_REMOUNT|syscall.MS_NOEXEC, ""); err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(dir, "x.sh") + " is on a file system that is mounted noexec"
	_, err = h.Call(t.Context(), handlertest.NewCall(`{}`))
	checkUnavailable(t, err, want)
	for _, user := range []string{"", "nobody"} {
		cfg.User = user
		if user != "" && os.Geteuid() != 0 {
			continue
		}
		if _, err = toolexec.New(cfg, common, procs); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("user %q: got %v, expected %q", user, err, want)
		}
	}
	cfg = toolexec.Config{Command: []string{"sh", "./x.sh"}} // as the message says
	if h, err = toolexec.New(cfg, common, procs); err != nil {
		t.Fatal(err)
	}
	if text, isError := handlertest.Call(t, h, `{}`); text != "ok\n" || isError {
		t.Errorf("got %q, error %t", text, isError)
	}
}

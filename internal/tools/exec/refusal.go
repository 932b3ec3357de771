package exec

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"toolhand/internal/tools"
)

// refusal is what the system's refusal to start the program comes to: it did not run. The
// system's error names the program where its interpreter or its working folder is meant,
// so the files are looked at again.
func (p program) refusal(err error) *tools.UnavailableError {
	return &tools.UnavailableError{Err: p.reason(err), Passing: errors.Is(err, syscall.ETXTBSY)}
}

// Refused is why the system refused with err to start a program; path and dir are
// absolute, own reports whether it was to run as the worker's own user.
func Refused(err error, path, dir string, own bool) error {
	return program{path: path, dir: dir, own: own}.reason(err)
}

func (p program) reason(err error) error {
	var code syscall.Errno
	if !errors.As(err, &code) {
		return err
	}
	switch code {
	case syscall.ETXTBSY:
		return fmt.Errorf("its program %s is being replaced (%w)", p.path, code)
	case syscall.ENOENT, syscall.ENOTDIR, syscall.EACCES, syscall.ENOEXEC:
	default:
		return err
	}
	if why := p.checkAgain(); why != nil {
		return why
	}
	switch {
	case code == syscall.ENOEXEC:
		return fmt.Errorf("%s can't be run here: it is damaged, or no program for this machine (%w)", p.path, code)
	case code == syscall.EACCES && !p.own:
		return fmt.Errorf("the user that it runs as may not enter its working folder %s, or not execute %s (%w)", p.dir, p.path, code)
	}
	return err
}

// checkAgain says why the system would not start the program any more.
func (p program) checkAgain() error {
	if err := p.checkDir(); err != nil {
		return err
	}
	if _, err := os.Stat(p.path); missing(err) {
		return fmt.Errorf("its program %s is gone", p.path)
	}
	return p.check()
}

// checkDir says why nothing can be started in the working folder.
func (p program) checkDir() error {
	info, err := os.Stat(p.dir)
	switch {
	case missing(err):
		return fmt.Errorf("its working folder %s is gone", p.dir)
	case err == nil && !info.IsDir():
		return fmt.Errorf("its working folder %s is not a directory any more", p.dir)
	case p.own && unix.Access(p.dir, unix.X_OK) != nil:
		return fmt.Errorf("the worker's user may not enter its working folder %s", p.dir)
	}
	return nil
}

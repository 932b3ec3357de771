package config

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxKeyFile bounds a file with a key or a token, in bytes.
const maxKeyFile = 64 << 10

// ReadKeyFile gives the key, or the token, that the file at path holds: one
// line, without the white space around it. It refuses a file that anybody may
// read or write, or that its group may write: what others can read is no secret,
// and what they can write is not ours. A group that may read is taken, because
// systemd hands out credentials that way. No error has the content in it. It
// may be called again at any time, to see whether the key has changed.
func ReadKeyFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("key file: %w", err)
	}
	if mode := info.Mode(); mode.IsRegular() && mode.Perm()&0o026 != 0 {
		return "", fmt.Errorf("key file %s: others can read or change it (mode %04o), expected %s, and consider the key known", path, mode.Perm(), closing(path))
	}
	data, err := readBounded(path, maxKeyFile)
	if err != nil {
		return "", fmt.Errorf("key file: %w", err)
	}
	key := strings.TrimSpace(string(data))
	switch {
	case key == "":
		return "", fmt.Errorf("key file %s: is empty, expected a key on one line", path)
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return "", fmt.Errorf("key file %s: has more than a key in it, expected one line of printable ASCII without spaces", path)
	}
	return key, nil
}

// closing says how a key file is closed to others. A mode on a read-only mount, as that of
// a Secret of Kubernetes, is set where the mount is described.
func closing(path string) string {
	if errors.Is(unix.Access(path, unix.W_OK), unix.EROFS) {
		return "0440: it is on a read-only mount, so set the mode where that is described (in Kubernetes: defaultMode: 0440 of the Secret's volume, and securityContext.fsGroup for a worker that is not root)"
	}
	return "0600: run chmod 600 " + path + " (in Kubernetes: defaultMode: 0440)"
}

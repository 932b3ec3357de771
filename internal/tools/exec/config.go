package exec

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"toolhand/internal/tools"
)

// inherited are the variables that every program gets of the worker's own
// environment, where they are set.
func inherited() []string { return []string{"PATH", "HOME", "LANG", "TZ", "TMPDIR"} }

// Environment is what a program's environment holds in every call. home, where
// not empty, is that of the user that the program runs as.
func Environment(cfg Config, common tools.Common, home string) (map[string]string, error) {
	vars := map[string]string{}
	for _, name := range inherited() {
		if value, ok := common.Lookup(name); ok {
			vars[name] = value
		}
	}
	if home != "" {
		vars["HOME"] = home
	}
	for _, name := range cfg.PassEnv {
		if err := checkVar(name, ""); err != nil {
			return nil, fmt.Errorf("pass_env: %w", err)
		}
		if _, twice := cfg.Env[name]; twice {
			return nil, fmt.Errorf("pass_env: %s is set by env too: keep one of them", name)
		}
		value, ok := common.Lookup(name)
		if !ok {
			return nil, fmt.Errorf("pass_env: the variable %s is not set", name)
		}
		vars[name] = value
	}
	for name, value := range cfg.Env {
		if err := checkVar(name, value); err != nil {
			return nil, fmt.Errorf("env: %w", err)
		}
		vars[name] = value
	}
	return vars, nil
}

// checkVar refuses what no environment can hold, what may be a credential of the
// worker's, and what the worker says itself in each call.
func checkVar(name, value string) error {
	if name == "" || strings.ContainsAny(name, "=\x00") {
		return fmt.Errorf("%q is not the name of a variable", name)
	}
	if strings.Contains(value, "\x00") {
		return fmt.Errorf("the value of %s has a zero byte in it", name)
	}
	if tools.IsReserved(name) {
		return fmt.Errorf("%s can't be given to a tool: no name may begin with ANTHROPIC_", name)
	}
	for _, own := range callVars(tools.Call{}) {
		if strings.HasPrefix(own, name+"=") {
			return fmt.Errorf("%s is set by the worker itself in each call", name)
		}
	}
	return nil
}

// WorkDir is the absolute path of the directory that a program runs in.
func WorkDir(dir, toolsDir string) (string, error) {
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(toolsDir, dir)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("dir: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", fmt.Errorf("dir: %w", err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("dir: %s is not a directory", dir)
	}
	return dir, nil
}

// Program is the absolute path of a command. own reports whether it will run as
// the worker's own user, so that the worker's right to execute it counts.
func Program(name, dir, path string, own bool) (string, error) {
	if strings.Contains(name, "/") {
		file := name
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		err := executable(file, own)
		if missing(err) && strings.ContainsAny(name, " \t\n") {
			return "", errOneElement(name)
		}
		if err != nil {
			return "", fmt.Errorf("command: %w", err)
		}
		return file, nil
	}
	file, denied := lookUp(name, dir, path, own)
	switch {
	case file != "":
		return file, nil
	case denied != nil:
		return "", fmt.Errorf("command: %w", denied)
	case strings.ContainsAny(name, " \t\n"):
		return "", errOneElement(name)
	}
	return "", fmt.Errorf("command: no program %s in the tool's PATH %q (a path with a slash is relative to dir)", name, path)
}

// errOneElement tells of a program and its arguments that were written as one text.
func errOneElement(line string) error {
	words := strings.Fields(line)
	if strings.ContainsAny(line, "'\"\\`$&|;<>*?") { // only a shell reads it as it was meant
		words = []string{"sh", "-c", line}
	}
	for i := range words {
		words[i] = strconv.Quote(words[i])
	}
	return fmt.Errorf("command: no program %q: each argument is an element of its own: write [%s]", line, strings.Join(words, ", "))
}

// lookUp finds a program in a PATH, where relative places are below dir. denied is why
// the first one that was found can't be executed, where none can.
func lookUp(name, dir, path string, own bool) (file string, denied error) {
	for _, place := range filepath.SplitList(path) {
		if !filepath.IsAbs(place) {
			place = filepath.Join(dir, place)
		}
		file := filepath.Join(place, name)
		err := executable(file, own)
		if err == nil {
			return file, nil
		}
		if !missing(err) && denied == nil {
			denied = err
		}
	}
	return "", denied
}

// Credential finds the user that a program runs as, and its home. The user that
// the worker has already needs none.
func Credential(name string) (*syscall.Credential, string, error) {
	if name == "" {
		return nil, "", nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, "", fmt.Errorf("user: no user %q on this machine", name)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, "", fmt.Errorf("user: the groups of %s: %w", name, err)
	}
	cred := &syscall.Credential{}
	if cred.Uid, err = number(u.Uid); err != nil {
		return nil, "", err
	}
	if cred.Gid, err = number(u.Gid); err != nil {
		return nil, "", err
	}
	for _, id := range ids {
		gid, err := number(id)
		if err != nil {
			return nil, "", err
		}
		cred.Groups = append(cred.Groups, gid)
	}
	if int(cred.Uid) == os.Geteuid() {
		return nil, u.HomeDir, nil
	}
	if os.Geteuid() != 0 {
		return nil, "", fmt.Errorf("user: only a worker that runs as root can run a tool as %s", name)
	}
	return cred, u.HomeDir, nil
}

func number(id string) (uint32, error) {
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("user: the id %q is not a number", id)
	}
	return uint32(n), nil
}

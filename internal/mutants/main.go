package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	only := flag.String("only", "", "only the faults whose text contains this")
	flag.Parse()
	survived := 0
	for _, f := range faults {
		if !strings.Contains(f.what, *only) {
			continue
		}
		begun := time.Now()
		verdict := "noticed"
		if err := f.try(); err != nil {
			survived++
			verdict = "SURVIVED: " + err.Error()
		}
		fmt.Printf("%s: %s: %s (%d s)\n", f.file, f.what, verdict, int(time.Since(begun).Seconds()))
	}
	if survived > 0 {
		fmt.Printf("%d faults survived\n", survived)
		os.Exit(1)
	}
}

// try runs the tests of a fault with it in the code. Nil means that one failed.
func (f fault) try() error {
	code, err := os.ReadFile(f.file)
	if err != nil {
		return err
	}
	if n := bytes.Count(code, []byte(f.old)); n != 1 {
		return fmt.Errorf("the fault no longer fits the code: %q stands %d times in it", f.old, n)
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	overlay, err := f.overlay(dir, bytes.Replace(code, []byte(f.old), []byte(f.new), 1))
	if err != nil {
		return err
	}
	packages := f.tests[len(f.tests)-1:]
	if out, err := run(append([]string{"build", "-overlay", overlay}, packages...)); err != nil {
		return fmt.Errorf("it can't be compiled: %s", out)
	}
	out, err := run(append([]string{"test", "-count=1", "-failfast", "-timeout", "8m", "-overlay", overlay}, f.tests...))
	var exit *exec.ExitError
	switch {
	case err == nil:
		return errors.New("no test failed")
	case !errors.As(err, &exit) || !bytes.Contains(out, []byte("--- FAIL: ")) && !bytes.Contains(out, []byte("panic: ")):
		return fmt.Errorf("the tests did not run: %w: %s", err, out)
	}
	return nil
}

// overlay writes the changed file and the list that go reads (go help build).
func (f fault) overlay(dir string, code []byte) (string, error) {
	original, err := filepath.Abs(f.file)
	if err != nil {
		return "", err
	}
	changed := filepath.Join(dir, filepath.Base(f.file))
	if err := os.WriteFile(changed, code, 0o600); err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, list, 0o600)
}

func run(args []string) ([]byte, error) { return exec.Command("go", args...).CombinedOutput() }

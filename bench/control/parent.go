package control

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// answerTimeout bounds how long a child may take for one request.
const answerTimeout = 5 * time.Minute

// Child is a process of the benchmark. One goroutine uses it.
type Child struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan []byte // closed when the child's output ends
}

// Start starts this program once more, in another role. What the child logs goes
// to log.
func Start(log io.Writer, env []string, args ...string) (*Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = log
	c := &Child{name: args[0], cmd: cmd, lines: make(chan []byte)}
	if c.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(c.lines)
		r := bufio.NewReader(out)
		for {
			line, err := r.ReadBytes('\n')
			if err != nil {
				return
			}
			c.lines <- line
		}
	}()
	return c, nil
}

// PID is the process's id.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Do asks the child for an action and waits for its answer, which is decoded into
// value unless that is nil.
func (c *Child) Do(action string, with, value any) error {
	arg, err := json.Marshal(with)
	if err != nil {
		return err
	}
	line, err := json.Marshal(request{Do: action, With: arg})
	if err != nil {
		return err
	}
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("%s: %s: %w", c.name, action, err)
	}
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	select {
	case <-timer.C:
		return fmt.Errorf("%s: %s: no answer within %s", c.name, action, answerTimeout)
	case line, ok := <-c.lines:
		if !ok {
			return fmt.Errorf("%s: %s: the process has ended; its log says why", c.name, action)
		}
		var a answer
		if err := json.Unmarshal(line, &a); err != nil {
			return fmt.Errorf("%s: %s: %w", c.name, action, err)
		}
		if a.Error != "" {
			return fmt.Errorf("%s: %s: %s", c.name, action, a.Error)
		}
		if value == nil {
			return nil
		}
		return json.Unmarshal(a.Value, value)
	}
}

// Stop ends the child's input, waits a little for it to end, and kills it where
// it does not.
func (c *Child) Stop() {
	c.in.Close()
	kill := time.AfterFunc(10*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer kill.Stop()
	for range c.lines {
		// what it still says concerns nobody
	}
	_ = c.cmd.Wait() // how it ends is no figure
}

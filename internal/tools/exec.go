package tools

import "errors"

// NewExec makes the handler that runs a program. It checks all that can be
// checked without running it: the program is there and executable, the
// directory and the user exist, each variable of PassEnv is set, and no name
// begins with ANTHROPIC_. procs owns the trees of all programs that this
// process started.
func NewExec(cfg ExecConfig, common Common, procs *Processes) (Handler, error) {
	return nil, errors.New("exec is being built")
}

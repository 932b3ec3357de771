package exec

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"toolhand/internal/tools"
	"toolhand/internal/tools/content"
	"toolhand/internal/tools/proctree"
)

// DrainDelay is how long the output is waited for after the program itself has
// ended: a child that it left behind may hold the pipe for ever.
const DrainDelay = 500 * time.Millisecond

// maxStderr bounds what an error result shows of stderr, in bytes.
const maxStderr = 16 << 10

// Config is a manifest's handler.exec.
type Config struct {
	// Command is the program and its arguments. A program with a slash is
	// relative to Dir; a bare name is looked up in the tool's PATH.
	Command []string `yaml:"command"`
	// Dir is the working directory, relative to tools.d. Empty means tools.d.
	Dir string `yaml:"dir"`
	// Env is added to the tool's environment.
	Env map[string]string `yaml:"env"`
	// PassEnv names variables of the worker's environment that the tool gets.
	PassEnv []string `yaml:"pass_env"`
	// User is the name of the user that the tool runs as. Empty means the
	// worker's own.
	User string `yaml:"user"`
}

//go:embed schema.json
var schema string

// Schema is the form of what manifests may say of a Config; see [tools.Config].
func (Config) Schema() string { return schema }

// A handler runs one program a call. All its fields but misfits are immutable after
// New.
type handler struct {
	program
	args    []string
	env     []string
	user    *syscall.Credential // nil: the worker's own
	procs   *proctree.Processes
	max     int
	log     *slog.Logger
	misfits content.Misfits
}

// New makes the handler that runs a program. It checks all that can be
// checked without running it: the program is there and executable, and so is the
// interpreter that it names, the
// directory and the user exist, each variable of PassEnv is set, and no name
// begins with ANTHROPIC_. procs owns the trees of all programs that this
// process started.
func New(cfg Config, common tools.Common, procs *proctree.Processes) (tools.Handler, error) {
	if len(cfg.Command) == 0 || cfg.Command[0] == "" {
		return nil, errors.New("command: expected a program and its arguments")
	}
	dir, err := WorkDir(cfg.Dir, common.Dir)
	if err != nil {
		return nil, err
	}
	user, home, err := Credential(cfg.User)
	if err != nil {
		return nil, err
	}
	vars, err := Environment(cfg, common, home)
	if err != nil {
		return nil, err
	}
	path, err := Program(cfg.Command[0], dir, vars["PATH"], user == nil)
	if err != nil {
		return nil, err
	}
	h := &handler{
		program: program{path: path, dir: dir, search: vars["PATH"], own: user == nil},
		args:    cfg.Command, user: user, procs: procs, max: common.MaxResultBytes, log: common.Logger(),
	}
	if err := h.check(); isForeign(err) {
		h.log.Warn("the program of a tool runs only if an emulator is registered here", "tool", common.Name, "reason", err.Error())
	} else if err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	for name, value := range vars {
		h.env = append(h.env, name+"="+value)
	}
	return h, nil
}

// Call runs the program once, and returns when nothing of its process tree runs
// any more.
func (h *handler) Call(ctx context.Context, call tools.Call) (tools.Result, error) {
	if ctx.Err() != nil {
		return tools.Result{}, &tools.UnavailableError{Err: context.Cause(ctx)}
	}
	out := content.NewCollector(h.max)
	errs := &content.Ending{Max: min(maxStderr, out.Max/4+1)}
	marks := callVars(call)
	cmd := &exec.Cmd{
		Path:        h.path,
		Args:        h.args,
		Dir:         h.dir,
		Env:         append(h.env[:len(h.env):len(h.env)], marks...),
		Stdin:       bytes.NewReader(call.Input),
		Stdout:      out,
		Stderr:      errs,
		WaitDelay:   DrainDelay,
		SysProcAttr: &syscall.SysProcAttr{Credential: h.user},
	}
	log := h.log.With("session", call.Session, "call", call.ID, "tool", call.Tool)
	proc, err := h.procs.Start(ctx, cmd, marks, log)
	if err != nil {
		return tools.Result{}, h.refusal(err)
	}
	ended := proc.Wait(ctx)
	proc.End()
	bad := ended && cmd.ProcessState != nil && !cmd.ProcessState.Success()
	tellStderr(ctx, proc, errs, log, bad)
	if !ended {
		return tools.Result{}, &tools.LostError{Err: context.Cause(ctx)}
	}
	if errors.Is(proc.Err, exec.ErrWaitDelay) {
		log.Info("the program left a process behind that held its output open; it is stopped")
	}
	if cmd.ProcessState == nil {
		return tools.Result{}, &tools.LostError{Err: fmt.Errorf("its exit status is not known: %w", proc.Err)}
	}
	if bad {
		return failed(cmd, out, errs), nil
	}
	result := out.Result(false)
	h.misfits.Tell(ctx, log, out.Misfit())
	return result, nil
}

// tellStderr tells those who look into a call what the program wrote to stderr last.
// shown reports that its result has it.
func tellStderr(ctx context.Context, proc *proctree.Process, errs *content.Ending, log *slog.Logger, shown bool) {
	select {
	case <-proc.Done:
	default:
		return // it survives SIGKILL, and errs may be written to
	}
	text := string(content.Valid(content.FromCharacter(errs.Last())))
	if text == "" {
		return
	}
	log.Debug("the program wrote to stderr", "stderr", text)
	if w, ok := tools.WatcherOf(ctx); ok && !shown {
		w.Stderr(text)
	}
}

// Live looks again at what New looked at: a program may have gone since.
func (h *handler) Live(context.Context) error {
	if err := h.checkAgain(); !isForeign(err) {
		return err
	}
	return nil
}

// failed is the result of another exit status than 0.
func failed(cmd *exec.Cmd, out *content.Collector, errs *content.Ending) tools.Result {
	cause := fmt.Sprintf("exit status %d", cmd.ProcessState.ExitCode())
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		cause = fmt.Sprintf("killed by %s (%s)", unix.SignalName(ws.Signal()), ws.Signal())
	}
	status := "[" + cause + "]"
	if text := content.Valid(content.FromCharacter(errs.Last())); len(text) > 0 {
		text = content.CutBefore(bytes.TrimRight(text, "\n"), errs.Max)
		status = fmt.Sprintf("[stderr]\n%s\n%s", text, status)
	}
	r := content.Error(out.Above(status))
	r.Cause = cause
	return r
}

// Marks are variables that each process of a call has in its environment, and none
// of another call has all of them.
func Marks(call tools.Call) []string {
	return []string{"TOOL_USE_ID=" + call.ID, "SESSION_ID=" + call.Session}
}

// callVars tell a tool about its call. They mark its processes too: no two calls
// have all of them in common.
func callVars(call tools.Call) []string {
	return []string{
		"TOOL_NAME=" + call.Tool,
		"TOOL_USE_ID=" + call.ID,
		"SESSION_ID=" + call.Session,
		"SESSION_THREAD_ID=" + call.Thread,
		"TOOL_DEADLINE=" + call.Deadline.Format(time.RFC3339Nano),
	}
}

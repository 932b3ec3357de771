// Command worker runs the tools of hosted AI agents.
//
// This package is flags, signals, what is printed, and exit codes: a file a command.
// What the commands do is in internal/, and put together by internal/worker.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"

	"toolhand/internal/config"
	"toolhand/internal/document"
	"toolhand/internal/tools/proctree"
	"toolhand/internal/worker"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // a failure while running
	exitUsage   = 2 // wrong usage, configuration or manifest; no credential
)

// commands is the command line.
type commands struct {
	Run     runCmd     `cmd:"" help:"Serve sessions until told to stop."`
	Demo    demoCmd    `cmd:"" help:"Show it all on this machine: no key, no network, no set-up."`
	Sim     simCmd     `cmd:"" help:"Serve a simulated Managed Agents API, to develop tools without a key."`
	Tools   toolsCmd   `cmd:"" help:"Show, check, call and export the tools in tools.d."`
	Config  configCmd  `cmd:"" help:"Check a configuration."`
	Status  statusCmd  `cmd:"" help:"Show what a running worker is doing."`
	Reload  reloadCmd  `cmd:"" help:"Have a running worker take tools.d and the key file anew."`
	Attach  attachCmd  `cmd:"" help:"Have a running worker serve a session."`
	Detach  detachCmd  `cmd:"" help:"Have a running worker leave a session."`
	Calls   callsCmd   `cmd:"" help:"Show the last calls, and what the journal has of one."`
	Journal journalCmd `cmd:"" help:"Look after the journal's store."`
	Version versionCmd `cmd:"" help:"Print version, commit and Go version."`
	Help    helpCmd    `cmd:"" help:"Show the help of a command."`
}

// process is what a command knows of the process that it runs in.
type process struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	// lookupEnv finds a variable of the environment.
	lookupEnv func(string) (string, bool)
	// notify is [notify].
	notify func(reloads bool) *signals
	ctx    context.Context
}

func main() {
	// First of all: no tool may read our environment in /proc. What a tool
	// starts with has 022 again; our own files are nobody else's business.
	if err := proctree.Harden(); err != nil {
		fmt.Fprintln(os.Stderr, "worker: this process can't be hidden from tools of the same user:", err)
	}
	setUmask()
	survivePipes()
	os.Exit(Main(os.Args[1:], &process{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		lookupEnv: os.LookupEnv, notify: notify, ctx: context.Background(),
	}))
}

// Main parses the command line, runs the command and returns its exit code.
func Main(args []string, p *process) int {
	var cli commands
	exit := -1
	parser, err := kong.New(&cli,
		kong.Name("worker"),
		kong.Description("worker runs the tools of hosted AI agents: it follows their sessions, runs each tool call once, and sends the results back before the deadline."),
		kong.Writers(p.stdout, p.stderr),
		kong.Exit(func(code int) { exit = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Bind(p),
	)
	if err != nil {
		fmt.Fprintln(p.stderr, "worker: the command line is broken:", err)
		return exitFailure
	}
	switch {
	case len(args) == 0:
		args = []string{"--help"}
	case args[0] == "help": // worker help tools call
		args = append(slices.Clone(args[1:]), "--help")
	case args[0] == "--version":
		args[0] = "version"
	}
	ctx, err := parser.Parse(args)
	if exit >= 0 {
		return exit // --help was printed
	}
	if err != nil {
		fmt.Fprintf(p.stderr, "worker: %s\nrun '%s --help' to see what there is\n", err, place(err))
		return exitUsage
	}
	return report(p.stderr, ctx.Run(p))
}

// place is how far a command line was understood.
func place(err error) string {
	var parse *kong.ParseError
	if !errors.As(err, &parse) {
		return "worker"
	}
	place := "worker"
	for _, step := range parse.Context.Path {
		if step.Command != nil {
			place += " " + step.Command.Name
		}
	}
	return place
}

// errSaid is an error that was told already.
var errSaid = errors.New("told already")

// report prints an error and returns the exit code that it means.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	// Whoever closed our output early (a pager, head) wants to read no more.
	if !errors.Is(err, errSaid) && !errors.Is(err, syscall.EPIPE) {
		fmt.Fprintln(w, "worker:", err)
	}
	var (
		usage   *worker.UsageError
		file    *document.Errors
		missing *config.NoCredentialError
	)
	if errors.As(err, &usage) || errors.As(err, &file) || errors.As(err, &missing) {
		return exitUsage
	}
	return exitFailure
}

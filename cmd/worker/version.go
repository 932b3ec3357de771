package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Set by the Makefile through the linker; otherwise the build's own information
// is used.
var (
	version = ""
	commit  = ""
)

type versionCmd struct{}

// Help is the long help.
func (versionCmd) Help() string {
	return "Example:\n\n  worker version\n"
}

// Run prints the version.
func (versionCmd) Run(p *process) error {
	v, c := versions()
	_, err := fmt.Fprintf(p.stdout, "worker %s\ncommit %s\n%s %s/%s\n", v, c, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// versions returns the version and the commit, "dev" and "unknown" where the
// build knows neither.
func versions() (v, c string) {
	v, c = version, commit
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" && info.Main.Version != "(devel)" {
			v = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && c == "" {
				c = s.Value
			}
		}
	}
	if v == "" {
		v = "dev"
	}
	if c == "" {
		c = "unknown"
	}
	return v, c
}

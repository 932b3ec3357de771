package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"toolhand/internal/document"
)

// Options say where the manifests are, and what their handlers are made with.
type Options struct {
	// Dir is tools.d.
	Dir string
	Dependencies
	// Wait is how long Load and Open wait for the MCP servers of groups to list
	// their tools, and Reload, up to 3 s, for those that never have. Zero: they are
	// not asked, and Load takes their manifests as they are.
	Wait time.Duration
	// WaitFor is the tool for which they are waited for: only those that may have it are.
	// Empty: all are.
	WaitFor string
	// Discover says which of the tools that services announce are taken; see
	// [Registry.Announce]. Load takes none.
	Discover Discover
	// Log receives what the handlers and a Registry have to say. Nil discards.
	Log *slog.Logger
	// LookupEnv finds a variable of the worker's environment. Nil means
	// os.LookupEnv.
	LookupEnv func(string) (string, bool)

	// format says how manifests are written. Nil: as the worker's are.
	format *format
}

func (o *Options) applyDefaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.LookupEnv == nil {
		o.LookupEnv = os.LookupEnv
	}
	if o.format == nil {
		o.format = standard()
	}
}

// reloadWait bounds how long a reload waits for servers that it has not heard of
// before: signals wait for it. What they list later is taken then.
const reloadWait = 3 * time.Second

// Load reads all manifests (*.yaml and *.yml directly in the folder, but not
// *.test.yaml, nor hidden files) and makes a set of them. It changes nothing. Its error is
// a *[document.Errors] that lists all that is wrong.
func Load(opts Options) (*Set, error) { return load(context.Background(), opts, nil, nil) }

// load is Load. What is in force in old has its name before others have it, had are schemas
// of servers' tools that are compiled already. The end of ctx ends it, with its cause as
// the error.
func load(ctx context.Context, opts Options, old *Set, had map[digest]compiled) (*Set, error) {
	opts.applyDefaults()
	all := &document.Problems{File: opts.Dir}
	files, abs, err := manifests(opts.Dir)
	if err != nil {
		all.Add("%v", err)
	}
	var (
		own      []*Tool
		groups   []*group
		warnings []string
		names    = map[string]string{}
	)
	for _, base := range files {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		f := &manifestFile{Problems: &document.Problems{File: filepath.Join(opts.Dir, base)}, opts: &opts, dir: abs}
		data, err := document.ReadFile(filepath.Join(abs, base))
		if err != nil {
			f.Add("%v: expected a manifest that can be read", err)
			all.List = append(all.List, f.List...)
			continue
		}
		tool, group := f.read(data)
		if first, taken := names[f.name()]; taken && f.name() != "" {
			f.At(f.top.Get("name"), "/name", "expected each name once, found %q in %s too", f.name(), first)
		}
		names[f.name()] = f.File
		switch {
		case tool != nil:
			own = append(own, tool)
		case group != nil:
			groups = append(groups, group)
		}
		all.List = append(all.List, f.List...)
		warnings = append(warnings, f.warnings...)
	}
	if err := all.Err(); err != nil {
		return nil, err
	}
	wait(ctx, groups, &opts)
	set := assemble(ctx, own, groups, &opts, old, had)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	set.warnings = append(warnings, set.warnings...)
	return set, nil
}

// manifests lists the files of the folder, and gives its absolute path.
func manifests(dir string) (files []string, abs string, err error) {
	if dir == "" {
		return nil, "", errors.New("no folder of tools is named: set tools.dir or --tools-dir")
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "", errors.New("there is no such folder: create it, or name another one with --tools-dir or tools.dir")
	case err != nil:
		return nil, "", fmt.Errorf("%w: expected a folder of manifests that can be read", errors.Unwrap(err))
	}
	for _, e := range entries {
		name := e.Name()
		ext := filepath.Ext(name)
		if strings.HasPrefix(name, ".") || ext != ".yaml" && ext != ".yml" || strings.HasSuffix(strings.TrimSuffix(name, ext), ".test") {
			continue
		}
		files = append(files, name)
	}
	abs, err = filepath.Abs(dir)
	return files, abs, err
}

// Registry holds the set in force. All its methods may be called at any time by
// anybody.
type Registry struct {
	opts Options
	set  atomic.Pointer[Set]

	// making lets one set at a time be made of manifests.
	making *semaphore.Weighted
	// warned has the lines that hold, by level; guarded by making.
	warned map[slog.Level]map[string]bool
	// schemas are those of what the servers of groups listed last; guarded by making.
	schemas map[digest]compiled

	// hearing lets one round of announcements at a time be taken in.
	hearing sync.Mutex
	book    *book // of what is announced, see there for who owns it; nil: nothing is taken

	// mu is held while another set is put in force. Nothing is compiled meanwhile.
	mu sync.Mutex
}

// Open loads the folder. Its error is that of Load.
func Open(opts Options) (*Registry, error) {
	opts.applyDefaults()
	set, err := Load(opts)
	if err != nil {
		return nil, err
	}
	r := &Registry{opts: opts, making: semaphore.NewWeighted(1), warned: make(map[slog.Level]map[string]bool)}
	if opts.Discover.On() {
		r.book = newBook(&r.opts)
	}
	r.put(set)
	r.schemas = set.schemas
	opts.keep(set)
	r.warn(set)
	return r, nil
}

// Set is the set in force.
func (r *Registry) Set() *Set { return r.set.Load() }

// Reload loads the folder anew and puts the new set in force if all of it is
// good. Otherwise the old one stays, a line of the log says so, and the error is
// that of Load. The end of ctx ends it, with its cause as the error.
func (r *Registry) Reload(ctx context.Context) error {
	if r.opts.Dir == "" {
		return nil
	}
	if r.making.Acquire(ctx, 1) != nil {
		return context.Cause(ctx)
	}
	defer r.making.Release(1)
	opts := r.opts
	opts.Wait = min(opts.Wait, reloadWait)
	set, err := load(ctx, opts, r.Set(), r.schemas)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		kept := len(r.Set().sorted)
		r.opts.Log.Error("reloading the tools found errors: the tools in force stay", "dir", r.opts.Dir, "tools", kept, "error", err)
		return err
	}
	old, now := r.put(set)
	r.schemas = set.schemas
	r.opts.keep(set)
	added, removed, changed := difference(old, now)
	r.opts.Log.Info("the tools were reloaded", "dir", r.opts.Dir, "tools", len(now.sorted), "added", added, "removed", removed, "changed", changed)
	r.warn(set)
	return nil
}

// warn logs what was not logged before.
func (r *Registry) warn(set *Set) {
	r.tell(slog.LevelWarn, set.warnings, func(line string) { r.opts.Log.Warn(line) })
}

// tell logs the lines that did not hold before, a few of them: a server may list
// other tools at each turn. Lines that hold no more are forgotten.
func (r *Registry) tell(level slog.Level, lines []string, say func(line string)) {
	now, told, untold := make(map[string]bool, len(lines)), 0, 0
	for _, line := range lines {
		if now[line] = true; r.warned[level][line] {
			continue
		}
		if told < maxTellings {
			told++
			say(line)
		} else {
			untold++
		}
	}
	if untold > 0 {
		r.opts.Log.Warn("more is wrong with the tools than is told", "lines", untold)
	}
	r.warned[level] = now
}

// difference has the names of the tools that came, went, or are another one now.
func difference(old, now *Set) (added, removed, changed []string) {
	for _, t := range now.sorted {
		switch before := old.byName[t.Name]; {
		case before == nil:
			added = append(added, t.Name)
		case before.said != t.said:
			changed = append(changed, t.Name)
		}
	}
	for _, t := range old.sorted {
		if now.byName[t.Name] == nil {
			removed = append(removed, t.Name)
		}
	}
	return added, removed, changed
}

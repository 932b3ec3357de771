package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
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

// Load reads all manifests (*.yaml and *.yml directly in the folder, hidden
// files left out) and makes a set of them. It changes nothing. Its error is an
// *Errors that lists all that is wrong.
func Load(opts Options) (*Set, error) { return load(context.Background(), opts, nil, nil) }

// load is Load, and forgives what a server's change alone has brought on: see
// [assembly.forgives]. had are schemas of servers' tools that are compiled already. The
// end of ctx ends it, with its cause as the error.
func load(ctx context.Context, opts Options, old *Set, had map[digest]compiled) (*Set, error) {
	opts.applyDefaults()
	files, real, err := manifests(opts.Dir)
	if err != nil {
		return nil, &Errors{Problems: []Problem{{File: opts.Dir, Text: err.Error()}}}
	}
	abs, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, &Errors{Problems: []Problem{{File: opts.Dir, Text: err.Error()}}}
	}
	var (
		all      problems
		list     []*Tool
		groups   []*group
		warnings []string
	)
	for _, base := range files {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		m := &manifest{
			problems: &problems{file: filepath.Join(opts.Dir, base)},
			opts:     &opts, dir: abs, file: filepath.Join(abs, base), real: real,
		}
		data, err := readIn(real, base)
		if err != nil {
			m.list = []Problem{{File: m.problems.file, Text: fmt.Sprintf("%s: expected a manifest that can be read", err)}}
		} else if t := m.read(data); t != nil {
			list = append(list, t)
		} else if m.group != nil && len(m.list) == 0 {
			groups = append(groups, m.group)
		}
		all.list = append(all.list, m.list...)
		warnings = append(warnings, m.warnings...)
	}
	all.list = append(all.list, together(opts.Dir, list, groups)...)
	if len(all.list) > 0 {
		return nil, &Errors{Problems: all.sorted()}
	}
	ask(ctx, groups, opts.Wait)
	set, wrong, forgiven := assemble(ctx, list, groups, old, had)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for _, p := range forgiven {
		set.warnings = append(set.warnings, p.String())
	}
	if len(wrong) > 0 {
		all.list = wrong
		return nil, &Errors{Problems: all.sorted()}
	}
	set.warnings = append(warnings, set.warnings...)
	return set, nil
}

// manifests lists the files of the folder, and gives its path without symbolic
// links.
func manifests(dir string) (files []string, real string, err error) {
	if dir == "" {
		return nil, "", errors.New("no folder of tools is named: set tools.dir or --tools-dir")
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "", errors.New("there is no such folder: create it, or name another one with --tools-dir or tools.dir")
	case err != nil:
		return nil, "", fmt.Errorf("%w: expected a folder of manifests that can be read", plain(err))
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") || filepath.Ext(name) != ".yaml" && filepath.Ext(name) != ".yml" {
			continue
		}
		files = append(files, name)
	}
	real, err = filepath.EvalSymlinks(dir)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	return files, real, err
}

// together checks what no manifest can know alone.
func together(dir string, list []*Tool, groups []*group) []Problem {
	var out []Problem
	byName := make(map[string]*Tool, len(list))
	for _, g := range groups {
		list = append(list[:len(list):len(list)], &g.template)
	}
	for _, t := range list {
		if first := byName[t.Name]; first != nil {
			out = append(out, Problem{File: t.File, Line: t.nameLine, Column: t.nameColumn, Text: fmt.Sprintf("the name %q is taken by %s: expected each name once", t.Name, first.File)})
			continue
		}
		byName[t.Name] = t
	}
	if len(list)-len(groups) > MaxTools {
		out = append(out, Problem{File: dir, Text: fmt.Sprintf("expected at most %d tools, which is what an agent may have, found %d", MaxTools, len(list))})
	}
	return out
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
	added, removed := difference(old, now)
	r.opts.Log.Info("the tools were reloaded", "dir", r.opts.Dir, "tools", len(now.sorted), "added", added, "removed", removed)
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

func difference(old, now *Set) (added, removed []string) {
	for name := range now.byName {
		if _, ok := old.byName[name]; !ok {
			added = append(added, name)
		}
	}
	for name := range old.byName {
		if _, ok := now.byName[name]; !ok {
			removed = append(removed, name)
		}
	}
	sort.Strings(added)
	sort.Strings(removed)
	return added, removed
}

package registry

import (
	"context"

	"toolhand/internal/tools"
	toolmcp "toolhand/internal/tools/mcp"
)

// keep tells the owner of the MCP servers what the set in force needs.
func (o *Options) keep(set *Set) {
	if o.Servers == nil {
		return
	}
	var handlers []tools.Handler
	for _, t := range set.sorted {
		handlers = append(handlers, t.Handler)
	}
	var groups []*toolmcp.Group
	for _, g := range set.groups {
		groups = append(groups, g.source)
	}
	o.Servers.Keep(handlers, groups)
}

// Follow takes the tools of groups as their MCP servers list them, until ctx ends:
// of a server that was away when the folder was loaded, and of one that says that
// its tools have changed. Nothing is read from the folder. What clashes with
// something in force is left out, and the log says so. swapped is called after
// each new set. It is called once.
func (r *Registry) Follow(ctx context.Context, swapped func()) {
	if r.opts.Servers == nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.opts.Servers.Changed():
			if r.regroup(ctx) {
				swapped()
			}
		}
	}
}

// regroup assembles the set anew of the manifests in force. It reports whether
// it did. What has not changed is not compiled again.
func (r *Registry) regroup(ctx context.Context) bool {
	if r.making.Acquire(ctx, 1) != nil {
		return false
	}
	defer r.making.Release(1)
	old := r.Set().manifests()
	if len(old.groups) == 0 {
		return false
	}
	set := assemble(ctx, old.own, old.groups, &r.opts, old, r.schemas)
	if ctx.Err() != nil {
		return false
	}
	r.schemas = set.schemas
	r.put(set)
	r.opts.keep(set)
	added, removed, changed := difference(old, set)
	r.opts.Log.Info("the tools of MCP servers were taken", "tools", len(set.sorted), "added", some(added), "removed", some(removed), "changed", some(changed))
	r.warn(set)
	return true
}

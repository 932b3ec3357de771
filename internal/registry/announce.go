package registry

import (
	"maps"
	"strings"
)

// Announce takes in what services announce, and puts another set in force if that
// has changed anything; it reports whether. Options.Discover says what is taken. A
// manifest's name is the manifest's. What is in force under a name stays until
// nobody has announced it for two rounds; then whatever else is announced under it
// is taken, or else its calls are answered as unavailable for 720 rounds (of
// more than MaxAnnounced names, those that went first are forgotten before).
func (r *Registry) Announce(round Round) (changed bool) {
	if r.book == nil {
		return false
	}
	r.hearing.Lock()
	defer r.hearing.Unlock()
	h := r.book.hear(round)
	r.mu.Lock()
	defer r.mu.Unlock()
	base := r.Set().manifests()
	if !r.book.take(h, base) {
		return false
	}
	r.set.Store(base.with(r.book))
	return true
}

// put puts the tools of manifests in force, and those that are announced beside
// them. It returns what was in force before, and what is now.
func (r *Registry) put(base *Set) (old, now *Set) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now = base
	if r.book != nil {
		now = base.with(r.book)
	}
	return r.set.Swap(now), now
}

// WithAnnounced is the set with what one round announces, for a command that ends
// soon. Options.Log receives what is wrong with it.
func (s *Set) WithAnnounced(opts Options, round Round) *Set {
	opts.applyDefaults()
	b := newBook(&opts)
	b.take(b.hear(round), s.manifests())
	return s.manifests().with(b)
}

// manifests is the set without what is announced.
func (s *Set) manifests() *Set {
	if s.base != nil {
		return s.base
	}
	return s
}

// claims gives the manifest that has a name, or nothing. The group of all tools
// of an MCP server that has listed none claims those with its prefix; without one it claims
// none, as nobody knows which they are.
func (s *Set) claims(name string) (file string) {
	for _, known := range []map[string]*Tool{s.byName, s.unavailable} {
		if t := known[name]; t != nil {
			return t.File
		}
	}
	for _, u := range s.unlisted {
		if prefix := u.group.cfg.Prefix; prefix != "" && strings.HasPrefix(name, prefix) {
			return u.group.file
		}
	}
	return ""
}

// with is a set of manifests' tools, and of what is announced under other names.
func (s *Set) with(b *book) *Set {
	all := *s
	all.base, all.byName, all.unavailable = s, maps.Clone(s.byName), maps.Clone(s.unavailable)
	if all.unavailable == nil {
		all.unavailable = map[string]*Tool{}
	}
	for _, name := range b.opts.Discover.Names {
		if s.claims(name) == "" {
			all.unavailable[name] = unavailable(Manifest{Name: name, Kind: "nats"}, nil, errNotThere)
		}
	}
	for name, l := range b.names {
		switch {
		case s.claims(name) != "" || s.byName[name] != nil:
		case l.gone > 0:
			all.unavailable[name] = l.tool
		default:
			delete(all.unavailable, name)
			all.byName[name] = l.tool
		}
	}
	all.sort()
	return &all
}

// Announced is how many of the set's tools are announced.
func (s *Set) Announced() int { return len(s.sorted) - len(s.manifests().sorted) }

// Unannounced are the names of Options.Discover that no tool has, in their order.
func (s *Set) Unannounced(d Discover) (names []string) {
	for _, name := range d.Names {
		if s.byName[name] == nil {
			names = append(names, name)
		}
	}
	return names
}

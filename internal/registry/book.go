package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"toolhand/internal/document"
)

const (
	// silentRounds is how many rounds of silence make a tool gone.
	silentRounds = 2
	// goneRounds is for how many rounds a tool that is gone is known: about an hour.
	goneRounds = 720
	// maxAnnouncements bounds what is looked at of one round.
	maxAnnouncements = 20_000
	// What schemas from outside cost is bounded by their values: the compiler takes
	// up to 0.2 s for 5,000 (and grows with the square), and each takes about a KB.
	maxSchemaValues = 5_000   // of one tool
	maxRoundValues  = 100_000 // of what is read in one round; the rest is read in the next ones
	maxValues       = 500_000 // of all announced tools that are known
	// moreValues is what may be read in the long run for each round: 100,000 a minute.
	// Up to maxValues of it are saved, so that all tools of a start are read in time.
	moreValues     = maxRoundValues / 12
	maxGroupValues = 100_000 // of the tools of one group
	// maxTellings bounds what one round says in the log.
	maxTellings = 20
	// maxTold bounds the lines that are remembered.
	maxTold = 10_000
)

var (
	errGone     = errors.New("no service announces it any more")
	errLater    = errors.New("it is read in another round")
	errNotThere = errors.New("no service announces it")
)

// A book holds what services announce: which tools, what is in force of each,
// and who has been silent. It is guarded by Registry.hearing; names are written only
// while Registry.mu is held too, and read under either.
type book struct {
	opts  *Options
	round int
	names map[string]*listing
	// saved is how many values may be read, besides what bounds a round.
	saved int
	// late says that something of the last round was not read for that.
	late bool
	// waits are the names of which something was not read yet, and since which round:
	// those that wait longest are read first.
	waits map[string]int
	// readings are of the announcements of the last rounds, so that each is read
	// once as long as somebody repeats it.
	readings map[digest]*reading
	// told has the lines of the log that hold, and when they held last.
	told map[string]int
	// lines and untold count those of this round; fresh are the values of what was
	// read in it, and values those of all that is known.
	lines, untold, fresh, values int
}

// listing is a name that was announced.
type listing struct {
	tool *Tool // in force, or away
	digest
	values int // of its schema
	silent int // rounds without it
	gone   int // the round in which it went; 0: it is in force
}

// reading is what an announcement has come to.
type reading struct {
	tool   *Tool
	err    error
	values int // of the schema of a tool
	seen   int
}

// claim is one thing that is announced under a name, and by whom.
type claim struct {
	digest
	tool *Tool
	by   []Announcer
}

func newBook(opts *Options) *book {
	return &book{opts: opts, saved: maxValues, names: map[string]*listing{}, readings: map[digest]*reading{}, told: map[string]int{}}
}

// discoveryRound is a round of announcements, read.
type discoveryRound struct {
	names  []string
	claims map[string][]*claim
	// partial says that somebody may have been missed; later are the names of which
	// something is read in another round. Silence does not count then.
	partial bool
	later   map[string]bool
}

// hear reads a round: what is new in it is compiled.
func (b *book) hear(r Round) discoveryRound {
	b.round++
	b.saved = min(b.saved+moreValues, maxValues)
	b.lines, b.untold, b.fresh, b.values = 0, 0, 0, b.known()
	for _, text := range r.Problems {
		b.tell(slog.LevelWarn, "what services say of themselves is not taken in as a whole", "error", text)
	}
	was := b.late
	b.late = false
	h := b.claims(r.Announcements)
	if b.late && !was {
		b.opts.Log.Warn("announced tools change too much: what is new is read later")
	}
	if len(r.Announcements) > maxAnnouncements {
		h.partial = true
		b.tell(slog.LevelWarn, "more tools are announced than are looked at")
	}
	h.partial = h.partial || r.Partial
	return h
}

// take decides what a round changes. It reports whether what is in force of the
// announced tools, or away, is another now. base are the tools of the manifests.
func (b *book) take(h discoveryRound, base *Set) bool {
	var came, went []string
	for _, name := range h.names {
		if b.settle(name, h.claims[name], h.partial || h.later[name]) {
			came = append(came, name)
		}
	}
	for name, l := range b.names {
		if h.claims[name] == nil && l.gone == 0 && b.silence(l, h.partial || h.later[name]) {
			b.leave(l)
			went = append(went, name)
		}
	}
	b.overruled(h.names, base)
	forgot := b.forget()
	if len(came)+len(went) > 0 {
		slices.Sort(went)
		b.opts.Log.Info("announced tools have changed", "tools", b.inForce(), "came", some(came), "went", some(went))
	}
	return forgot || len(came)+len(went) > 0
}

// claims reads announcements, and has those that can be used by name, each claim
// once.
func (b *book) claims(list []Announcement) discoveryRound {
	h := discoveryRound{claims: map[string][]*claim{}, later: map[string]bool{}}
	list = slices.Clone(list[:min(len(list), maxAnnouncements)])
	slices.SortStableFunc(list, func(x, y Announcement) int {
		return cmp.Or(cmp.Compare(b.since(x.Metadata[metaTool]), b.since(y.Metadata[metaTool])), x.compare(y))
	})
	for _, a := range list {
		name := a.Metadata[metaTool]
		if !b.opts.Discover.All && !slices.Contains(b.opts.Discover.Names, name) {
			continue
		}
		d := a.digest()
		tool, err := b.read(d, a)
		if errors.Is(err, errLater) {
			h.later[name] = true
			continue
		}
		if err != nil {
			b.tell(slog.LevelWarn, "an announced tool can't be used", "tool", document.Short(name), "service", a.Service, "error", err.Error())
			continue
		}
		if keys := a.unknownKeys(); len(keys) > 0 {
			b.tell(slog.LevelWarn, "an announced tool has metadata that is not known and has no effect", "tool", name, "service", a.Service, "keys", document.Cut(strings.Join(keys, " "), 200))
		}
		claims := h.claims[name]
		i := slices.IndexFunc(claims, func(c *claim) bool { return c.digest == d })
		if i < 0 {
			i = len(claims)
			h.claims[name] = append(claims, &claim{digest: d, tool: tool})
		}
		if i == 0 && len(claims) == 0 {
			h.names = append(h.names, name)
		}
		c := h.claims[name][i]
		if by := (Announcer{a.Service, a.ID}); !slices.Contains(c.by[max(0, len(c.by)-1):], by) {
			c.by = append(c.by, by)
		}
	}
	slices.Sort(h.names)
	waits := make(map[string]int, len(h.later))
	for name := range h.later {
		waits[name] = b.since(name)
	}
	b.waits = waits
	return h
}

// since is the round since which something of a name waits to be read.
func (b *book) since(name string) int {
	if round, waits := b.waits[name]; waits {
		return round
	}
	return b.round
}

// read makes the tool of an announcement, or gives what it came to before.
func (b *book) read(d digest, a Announcement) (*Tool, error) {
	if l := b.names[a.Metadata[metaTool]]; l != nil && l.gone == 0 && l.digest == d {
		return l.tool, nil
	}
	if r := b.readings[d]; r != nil {
		r.seen = b.round
		return r.tool, r.err
	}
	values := countValues(a.Metadata[metaSchema])
	switch {
	case values > maxSchemaValues:
		return nil, fmt.Errorf("input_schema: expected at most about %d values, found %d", maxSchemaValues, values)
	case b.values+values > maxValues:
		return nil, fmt.Errorf("input_schema: expected at most about %d values in those of all announced tools together", maxValues)
	case b.fresh+values > maxRoundValues:
		return nil, errLater
	case values >= b.saved:
		b.late = true
		return nil, errLater
	}
	r := &reading{seen: b.round}
	b.fresh += values + 1
	b.saved -= values + 1
	if r.tool, r.err = b.opts.announced(a); r.err == nil {
		r.values = values
		b.values += values
		for _, text := range r.tool.remarks() {
			b.tell(slog.LevelWarn, "an announced tool is odd", "tool", r.tool.Name, "service", a.Service, "remark", text)
		}
	}
	b.readings[d] = r
	return r.tool, r.err
}

// countValues is about how many values a JSON text has, found without reading it.
func countValues(text string) int {
	return strings.Count(text, "{") + strings.Count(text, "[") + strings.Count(text, ",")
}

// known counts the values of all schemas.
func (b *book) known() (n int) {
	for _, l := range b.names {
		n += l.values
	}
	for _, r := range b.readings {
		n += r.values
	}
	return n
}

// settle decides between the claims to one name: what is in force stays as long
// as somebody announces it. It reports whether another is in force now.
func (b *book) settle(name string, claims []*claim, partial bool) (took bool) {
	l := b.names[name]
	if l != nil && l.gone == 0 {
		i := slices.IndexFunc(claims, func(c *claim) bool { return c.digest == l.digest })
		if i >= 0 {
			l.silent = 0
			l.tool.announcers.set(claims[i].by)
			b.conflict(name, claims, i)
			return false
		}
		if !b.silence(l, partial) {
			return false
		}
	}
	if l == nil {
		if !b.room() {
			b.tell(slog.LevelWarn, fmt.Sprintf("expected at most %d announced tools: the others are left out", MaxAnnounced))
			return false
		}
		l = &listing{}
		b.names[name] = l
	}
	*l = listing{tool: claims[0].tool, digest: claims[0].digest}
	if r := b.readings[l.digest]; r != nil {
		l.values = r.values
		delete(b.readings, l.digest)
	}
	l.tool.announcers.set(claims[0].by)
	b.conflict(name, claims, 0)
	return true
}

// silence counts a round without the listing. It reports whether that is enough.
func (b *book) silence(l *listing, partial bool) bool {
	if partial {
		return false
	}
	l.silent++
	return l.silent >= silentRounds
}

func (b *book) leave(l *listing) {
	*l = listing{tool: unavailable(l.tool.Manifest, nil, errGone), gone: b.round}
}

// room makes room for one more name, of the one that went first if need be.
func (b *book) room() bool {
	if len(b.names) < MaxAnnounced {
		return true
	}
	first := ""
	for name, l := range b.names {
		if l.gone > 0 && (first == "" || l.gone < b.names[first].gone) {
			first = name
		}
	}
	delete(b.names, first)
	return first != ""
}

// conflict tells of claims to a name besides the one that is in force.
func (b *book) conflict(name string, claims []*claim, inForce int) {
	for i, c := range claims {
		if i != inForce {
			b.tell(slog.LevelWarn, "services announce different things under one name: what is in force stays", "tool", name,
				"in_force", claims[inForce].by[0].Service+" "+claims[inForce].by[0].ID, "other", c.by[0].Service+" "+c.by[0].ID)
		}
	}
}

// overruled tells of announced names that manifests have taken.
func (b *book) overruled(names []string, base *Set) {
	for _, name := range names {
		if file := base.claims(name); file != "" {
			b.tell(slog.LevelInfo, "a manifest has the name of an announced tool and is used instead of it", "tool", name, "file", file)
		}
	}
}

// tell logs a line when it begins to hold.
func (b *book) tell(level slog.Level, text string, args ...any) {
	key := fmt.Sprintln(text, args)
	_, old := b.told[key]
	if !old && len(b.told) >= maxTold {
		b.untold++
		return
	}
	b.told[key] = b.round
	switch {
	case old:
	case b.lines < maxTellings:
		b.lines++
		b.opts.Log.Log(context.Background(), level, text, args...)
	default:
		b.untold++
	}
}

// forget drops what no round has repeated for a while. It reports whether a name
// went with it.
func (b *book) forget() (names bool) {
	for name, l := range b.names {
		if l.gone > 0 && b.round-l.gone >= goneRounds {
			delete(b.names, name)
			names = true
		}
	}
	if b.untold > 0 {
		b.opts.Log.Warn("more is wrong with what services announce than is told", "lines", b.untold)
	}
	for key, round := range b.told {
		if round < b.round-silentRounds {
			delete(b.told, key)
		}
	}
	for d, r := range b.readings {
		if r.seen < b.round {
			delete(b.readings, d)
		}
	}
	return names
}

func (b *book) inForce() (n int) {
	for _, l := range b.names {
		if l.gone == 0 {
			n++
		}
	}
	return n
}

// some is the beginning of a list of names, for the log.
func some(names []string) []string {
	const most = 20
	if len(names) > most {
		return append(slices.Clone(names[:most]), fmt.Sprintf("… and %d more", len(names)-most))
	}
	return names
}

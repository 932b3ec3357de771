package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"toolhand/internal/testkit"
	"toolhand/internal/tools"
	toolnats "toolhand/internal/tools/nats"
)

// says is an announcement; changes are pairs of a key and its value, which is left
// out where it is "-".
func says(service, name string, changes ...string) Announcement {
	meta := map[string]string{metaTool: name, metaDescription: "d", metaSchema: `{"type":"object"}`}
	for i := 0; i < len(changes); i += 2 {
		meta[changes[i]] = changes[i+1]
		if changes[i+1] == "-" {
			delete(meta, changes[i])
		}
	}
	return Announcement{Service: service, ID: service + "1", Subject: "toolhand.tool." + name, Metadata: meta}
}

// finder is a registry that takes announced tools, with its log, and counts what it
// makes of them.
type finder struct {
	*Registry
	t    *testing.T
	dir  string
	log  bytes.Buffer
	made int
}

func newFinder(t *testing.T, d Discover, files map[string]string) *finder {
	t.Helper()
	f := &finder{t: t, dir: write(t, files)}
	counted := kindWith("nats", func(cfg toolnats.Config, common tools.Common, d Dependencies) (tools.Handler, error) {
		f.made++
		return toolnats.New(cfg, common, d.NATS)
	}, func(d Dependencies) Dependencies { return d })
	var err error
	f.Registry, err = Open(Options{Dir: f.dir, Discover: d, Log: slog.New(slog.NewTextHandler(&f.log, nil)), format: recorded().with(counted)})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// round takes a round in, and checks whether it has swapped the set, and what it
// has logged: a line for each of lines that has it, and no other.
func (f *finder) round(changed bool, list []Announcement, lines ...string) {
	f.t.Helper()
	f.log.Reset()
	before := f.Set()
	if got := f.Announce(Round{Announcements: list}); got != changed {
		f.t.Errorf("changed: %t, expected %t", got, changed)
	}
	if (before != f.Set()) != changed {
		f.t.Errorf("the set was swapped: %t, expected %t", !changed, changed)
	}
	f.logged(lines...)
}

func (f *finder) logged(lines ...string) {
	f.t.Helper()
	got := strings.FieldsFunc(f.log.String(), func(r rune) bool { return r == '\n' })
	for i := range max(len(got), len(lines)) {
		if i >= len(got) || i >= len(lines) || !strings.Contains(got[i], lines[i]) {
			f.t.Errorf("logged\n%s\nexpected %q", f.log.String(), lines)
			return
		}
	}
}

// lists checks the tools in force.
func (f *finder) lists(names ...string) {
	f.t.Helper()
	var got []string
	for _, t := range f.Set().Tools() {
		got = append(got, t.Name)
		if by, n := t.Announcers(); (t.File == "") != (n > 0) || len(by) != min(n, maxAnnouncers) {
			f.t.Errorf("%s has the file %q and %d announcers: %v", t.Name, t.File, n, by)
		}
	}
	if !slices.Equal(got, names) {
		f.t.Errorf("the tools are %q, expected %q", got, names)
	}
}

// call checks the error of a call.
func (f *finder) call(name, want string) {
	f.t.Helper()
	tool, ok := f.Set().Lookup(name)
	if !ok {
		f.t.Errorf("%s is not known", name)
		return
	}
	if err := tool.Validate(f.t.Context(), json.RawMessage(`{}`)); err != nil {
		f.t.Errorf("%s: %v", name, err)
	}
	_, err := tool.Handler.Call(f.t.Context(), tools.Call{Tool: name, Input: json.RawMessage(`{}`)})
	var nobody *tools.UnavailableError
	if !errors.As(err, &nobody) || nobody.Passing || err.Error() != want {
		f.t.Errorf("%s: %v, expected %q", name, err, want)
	}
}

const noConn = "there is no connection to NATS here" // the tool itself was called

// TestAnnouncedToolsComeAndGo: arrival, departure after two silent rounds, return.
func TestAnnouncedToolsComeAndGo(t *testing.T) {
	f := newFinder(t, Discover{All: true}, nil)
	both := []Announcement{says("x", "a"), says("y", "b", metaDeadline, "2m", metaIdempotent, "true")}
	f.round(false, nil)
	f.round(true, both, "came=\"[a b]\"")
	f.lists("a", "b")
	f.call("a", noConn)
	a, b := f.Set().byName["a"], f.Set().byName["b"]
	if a.Kind != "nats" || a.Description != "d" || a.DeadlineText != "120s" || a.Idempotent || a.MaxResultBytes != DefaultMaxResultBytes ||
		string(a.InputSchema) != `{"type":"object"}` || b.DeadlineText != "2m" || !b.Idempotent {
		t.Errorf("a = %+v\nb = %+v", a, b)
	}
	f.round(false, both[:1])
	f.round(false, both)
	f.round(false, both[:1]) // once more: silence that was broken does not count
	f.lists("a", "b")
	f.round(true, both[:1], "went=[b]")
	f.lists("a")
	f.call("b", "no service announces it any more")
	if gone, _ := f.Set().Lookup("b"); gone.DeadlineText != "2m" || !gone.Idempotent || gone.Kind != "nats" {
		t.Errorf("what is gone is %+v", gone)
	}
	if _, ok := f.Set().Lookup("c"); ok {
		t.Error("c was never announced")
	}
	for range 10 {
		f.round(false, both[:1])
	}
	f.call("b", "no service announces it any more") // for as long as the worker lives
	f.round(true, both, "came=[b]")
	f.lists("a", "b")
	f.call("b", noConn)
	if b2 := f.Set().byName["b"]; b2 == b {
		t.Error("a tool that is gone is kept")
	} else if a2 := f.Set().byName["a"]; a2 != a {
		t.Error("a tool that stayed was made anew")
	}
}

// TestWhatCountsAsSilence: a round that may have missed somebody does not.
func TestWhatCountsAsSilence(t *testing.T) {
	f := newFinder(t, Discover{All: true}, nil)
	f.round(true, []Announcement{says("x", "a")}, "came=[a]")
	for range 5 {
		if f.Announce(Round{Partial: true}) {
			t.Fatal("silence in a partial round counts")
		}
	}
	f.lists("a")
	many := make([]Announcement, maxAnnouncements)
	for i := range many {
		many[i] = says("x", "0")
	}
	f.round(true, append(many, says("z", "z")), "more tools are announced than are looked at", "came=[0]")
	f.round(false, append(many, says("z", "z")))
	f.lists("0", "a")
}

// TestConflictOfAnnouncements: what is in force stays as long as it is announced,
// told once; then the other one is taken.
func TestConflictOfAnnouncements(t *testing.T) {
	for key, value := range map[string]string{
		metaDescription: "another", metaSchema: `{"type":"object","required":["n"]}`, metaDeadline: "1s", metaIdempotent: "true", "subject": "team.a",
	} {
		t.Run(key, func(t *testing.T) {
			f := newFinder(t, Discover{All: true}, nil)
			first, other := says("m", "a"), says("b", "a", key, value)
			if key == "subject" {
				other = says("b", "a")
				other.Subject = value
			}
			f.round(true, []Announcement{first}, "came=[a]")
			inForce := f.Set().byName["a"]
			f.round(false, []Announcement{other, first}, `services announce different things under one name: what is in force stays" tool=a in_force="m m1" other="b b1"`)
			for range 5 {
				f.round(false, []Announcement{other, first})
			}
			f.round(false, []Announcement{other})
			if f.Set().byName["a"] != inForce {
				t.Fatal("what is in force did not stay")
			}
			f.round(true, []Announcement{other}, "came=[a]")
			taken := f.Set().byName["a"]
			if by, n := taken.Announcers(); n != 1 || by[0] != (Announcer{"b", "b1"}) {
				t.Errorf("announced by %v", by)
			}
			f.round(false, []Announcement{other, first}, "one name")
			if f.Set().byName["a"] != taken {
				t.Error("the first came back into force")
			}
		})
	}
}

// TestManifestWins: a name of tools.d is its own, before and after a reload; a name
// that is announced first goes over to it, and comes back.
func TestManifestWins(t *testing.T) {
	const own = "description: d\ninput_schema: {type: object}\nhandler: {exec: {command: [x]}}\n"
	f := newFinder(t, Discover{All: true}, map[string]string{"a.yaml": "name: a\n" + own})
	both := []Announcement{says("x", "a"), says("x", "b")}
	f.round(true, both, `a manifest has the name of an announced tool and is used instead of it" tool=a`, "came=\"[a b]\"")
	f.lists("a", "b")
	if f.Set().byName["a"].Kind != "exec" || f.Set().Announced() != 1 {
		t.Errorf("a is %+v", f.Set().byName["a"])
	}
	f.round(false, both)
	put(t, f.dir, "b.yaml", "name: b\n"+own)
	if err := f.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.Set().byName["b"].Kind != "exec" {
		t.Error("the announced b stayed beside a manifest")
	}
	f.round(false, both, "tool=b")
	put(t, f.dir, "b.yaml", "name: c\n"+own)
	if err := f.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.lists("a", "b", "c")
	if f.Set().byName["b"].Kind != "nats" {
		t.Error("the announced b did not come back")
	}
	put(t, f.dir, "b.yaml", "broken")
	if f.Reload(t.Context()) == nil {
		t.Fatal("a broken manifest was taken")
	}
	f.lists("a", "b", "c")
}

// TestNamesOfDiscover: of a list only its names are taken; they are known before
// anybody announces them.
func TestNamesOfDiscover(t *testing.T) {
	f := newFinder(t, Discover{Names: []string{"a", "b"}}, nil)
	f.lists()
	f.call("a", "no service announces it")
	if _, ok := f.Set().Lookup("c"); ok {
		t.Error("c is known")
	}
	f.round(true, []Announcement{says("x", "a"), says("x", "c"), says("x", "d", metaSchema, "broken")}, "came=[a]")
	f.lists("a")
	if got := f.Set().Unannounced(f.opts.Discover); !slices.Equal(got, []string{"b"}) {
		t.Errorf("not there: %q", got)
	}
	if f.made != 1 {
		t.Errorf("%d announcements were read, expected 1", f.made)
	}
	f.call("b", "no service announces it")
	off := newFinder(t, Discover{}, nil)
	off.round(false, []Announcement{says("x", "a")})
	off.lists()
}

// TestGarbageIsRefused: what a manifest could not say is refused, told once and
// again when it comes back; the rest of the round is taken.
func TestGarbageIsRefused(t *testing.T) {
	deep := strings.Repeat(`{"properties":{"a":`, 150) + "{}" + strings.Repeat("}}", 150)
	for want, a := range map[string]Announcement{
		`name: expected 1 to 128 letters`:                                                  says("x", "a b"),
		`expected toolhand.description, what the tool does and when to use it, found none`: says("x", "bad", metaDescription, "-"),
		`expected toolhand.description, what the tool does`:                                says("x", "bad", metaDescription, " "),
		`expected text without the character NUL`:                                          says("x", "bad", metaDescription, "a\x00"),
		`expected toolhand.input_schema, a JSON Schema, found none`:                        says("x", "bad", metaSchema, "-"),
		`expected more JSON, found the end of the text`:                                    says("x", "bad", metaSchema, ""),
		`expected more JSON`:                                                says("x", "bad", metaSchema, "{"),
		`found string "array"`:                                              says("x", "bad", metaSchema, `{"type":"array"}`),
		`expected each key once`:                                            says("x", "bad", metaSchema, `{"type":"object","type":"object"}`),
		`is not followed`:                                                   says("x", "bad", metaSchema, `{"type":"object","properties":{"a":{"$ref":"file:///etc/passwd"}}}`),
		`leads nowhere`:                                                     says("x", "bad", metaSchema, `{"type":"object","$ref":"#/$defs/a"}`),
		`expected at most 100 levels of nesting`:                            says("x", "bad", metaSchema, `{"type":"object","not":`+deep+`}`),
		`expected at most about 5000 values, found`:                         says("x", "bad", metaSchema, `{"type":"object","properties":{`+strings.Repeat(`"p":{},`, 3000)+`}}`),
		`expected at most 1048576 bytes, found`:                             says("x", "bad", metaSchema, `{"type":"object","title":"`+strings.Repeat("x", 1<<20)+`"}`),
		`expected a duration above zero`:                                    says("x", "bad", metaDeadline, "0s"),
		`expected a duration above zero such as 120s, found`:                says("x", "bad", metaDeadline, "soon"),
		`idempotent: expected true or false, found`:                         says("x", "bad", metaIdempotent, "yes"),
		`expected parts divided by single dots`:                             {Service: "x", ID: "1", Subject: "a..b", Metadata: says("x", "bad").Metadata},
		`has a wildcard`:                                                    {Service: "x", ID: "1", Subject: "a.*", Metadata: says("x", "bad").Metadata},
		`below toolhand only`:                                               {Service: "x", ID: "1", Subject: "toolhand.jobs.x", Metadata: says("x", "bad").Metadata},
		`what begins with $ or _ is NATS' own`:                              {Service: "x", ID: "1", Subject: "$JS.API.STREAM.DELETE.x", Metadata: says("x", "bad").Metadata},
		`name: expected 1 to 128 letters, digits, _ and -, found string ""`: {Service: "x", ID: "1", Subject: "a.b", Metadata: map[string]string{"toolhand.other": "x"}},
	} {
		t.Run(want, func(t *testing.T) {
			f := newFinder(t, Discover{All: true}, nil)
			round := []Announcement{a, says("y", "good")}
			f.round(true, round, "an announced tool can't be used", "came=[good]")
			f.lists("good")
			f.log.Reset()
			for range 5 {
				f.round(false, round)
			}
			for range 4 {
				f.round(false, round[1:])
			}
			f.round(false, round, strings.ReplaceAll(want, `"`, `\"`))
			if f.made > 4 {
				t.Errorf("%d announcements were read", f.made)
			}
		})
	}
	f := newFinder(t, Discover{All: true, Below: "toolhand.tool."}, nil)
	out := says("x", "b")
	out.Subject = "team.b"
	round := []Announcement{says("x", "a", "toolhand.colour", "red", "colour", "red"), out}
	f.round(true, round, "metadata that is not known and has no effect\" tool=a service=x keys=toolhand.colour",
		`the subject \"team.b\" can't be reached here: expected one below toolhand.tool`, "came=[a]")
	f.round(false, round)
}

// TestLogOfGarbageIsBounded: whoever announces a thousand broken tools, or another
// one each time, fills no disk.
func TestLogOfGarbageIsBounded(t *testing.T) {
	f := newFinder(t, Discover{All: true}, nil)
	for i := range testkit.Sample(30, 5) {
		var list []Announcement
		for j := range 1000 {
			list = append(list, says("x", "t", metaDeadline, fmt.Sprint(i, "-", j)))
		}
		f.log.Reset()
		f.Announce(Round{Announcements: list, Problems: []string{fmt.Sprint("one", i)}})
		if n := strings.Count(f.log.String(), "\n"); n != maxTellings+1 {
			t.Fatalf("round %d logs %d lines:\n%s", i, n, f.log.String())
		}
		if len(f.book.told) > maxTold || len(f.book.readings) > 3000 {
			t.Fatalf("%d lines and %d readings are remembered", len(f.book.told), len(f.book.readings))
		}
	}
	if len(f.book.names) != 0 {
		t.Errorf("%d names", len(f.book.names))
	}
}

// TestSchemasOfAnnouncedAreBounded: many large schemas are read in several rounds,
// and not beyond what all may have together.
func TestSchemasOfAnnouncedAreBounded(t *testing.T) {
	f := newFinder(t, Discover{All: true}, nil)
	large := `{"type":"object","enum":[` + strings.Repeat("{},", 2200) + "{}]}"
	one := countValues(large)
	var list []Announcement
	for i := range 2 + maxValues/one {
		list = append(list, says("x", fmt.Sprintf("t%03d", i), metaSchema, large, metaDescription, fmt.Sprint(i)))
	}
	for range maxValues/maxRoundValues + 2 {
		before := f.made
		f.Announce(Round{Announcements: list})
		if n := (f.made - before) * one; n > maxRoundValues {
			t.Fatalf("%d values were read in a round", n)
		}
	}
	f.round(false, list)
	if n, most := len(f.Set().Tools()), maxValues/one; n != most || f.made != most || f.book.known() > maxValues {
		t.Errorf("%d tools of %d made, expected %d; %d values", n, f.made, most, f.book.known())
	}
	f.Announce(Round{Announcements: list[maxValues/one:]})
	f.Announce(Round{Announcements: list[maxValues/one:]})
	f.Announce(Round{Announcements: list[maxValues/one:]})
	if n := len(f.Set().Tools()); n != 2 || f.book.known() != 2*one {
		t.Errorf("%d tools with %d values are left, expected 2", n, f.book.known())
	}
}

// TestNumberOfAnnouncedIsBounded: more than MaxAnnounced names push out those that
// are gone, the first first, and none that is in force.
func TestNumberOfAnnouncedIsBounded(t *testing.T) {
	f := newFinder(t, Discover{All: true}, nil)
	var list []Announcement
	for i := range MaxAnnounced + 10 {
		list = append(list, says("x", fmt.Sprintf("t%05d", i)))
	}
	f.round(true, list, "expected at most 10000 announced tools", "tools=10000")
	if n := len(f.Set().Tools()); n != MaxAnnounced {
		t.Fatalf("%d tools", n)
	}
	f.round(false, list)
	f.Announce(Round{Announcements: list[1:MaxAnnounced]})
	f.Announce(Round{Announcements: list[1:MaxAnnounced]}) // the first is gone
	f.Announce(Round{Announcements: list[2:MaxAnnounced]})
	f.Announce(Round{Announcements: list[2:MaxAnnounced]}) // and the second
	f.call("t00000", "no service announces it any more")
	f.Announce(Round{Announcements: append(list[2:MaxAnnounced:MaxAnnounced], says("x", "zz"))})
	if _, ok := f.Set().Lookup("t00000"); ok {
		t.Error("what went first is not forgotten")
	}
	f.call("t00001", "no service announces it any more")
	f.call("zz", noConn)
	if len(f.book.names) != MaxAnnounced {
		t.Errorf("%d names", len(f.book.names))
	}
}

// TestAnnouncersAreKept: who announces a tool changes without another set.
func TestAnnouncersAreKept(t *testing.T) {
	f := newFinder(t, Discover{All: true}, nil)
	var list []Announcement
	for i := range 20 {
		a := says("x", "a")
		a.ID = fmt.Sprintf("id%02d", i)
		list = append(list, a, a)
	}
	f.round(true, list[:2], "came=[a]")
	tool := f.Set().byName["a"]
	if by, n := tool.Announcers(); n != 1 || len(by) != 1 || by[0] != (Announcer{"x", "id00"}) {
		t.Errorf("announced by %v", by)
	}
	f.round(false, list)
	if by, n := tool.Announcers(); n != 20 || len(by) != maxAnnouncers || by[15] != (Announcer{"x", "id15"}) {
		t.Errorf("announced by %d: %v", n, by)
	}
	f.round(false, list[2:4])
	if by, n := tool.Announcers(); n != 1 || by[0] != (Announcer{"x", "id01"}) {
		t.Errorf("announced by %v", by)
	}
}

// TestUnchangedRoundIsCheap: a thousand tools of fifty services, announced again,
// are not read again, and cost little.
func TestUnchangedRoundIsCheap(t *testing.T) {
	f := newFinder(t, Discover{All: true}, nil)
	var list []Announcement
	for i := range 1000 {
		a := says(fmt.Sprintf("s%d", i%50), fmt.Sprintf("t%03d", i))
		a.Metadata[metaSchema] = fmt.Sprintf(`{"type":"object","properties":{"n":{"type":"integer","maximum":%d}}}`, i)
		list = append(list, a)
	}
	list = append(list, says("bad", "bad", metaDeadline, "x"))
	f.round(true, list, "can't be used", "tools=1000")
	if f.made != 1001 {
		t.Fatalf("%d were made", f.made)
	}
	same := slices.Clone(list)
	for i := range same {
		same[i].Metadata = maps.Clone(same[i].Metadata)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f.round(false, same)
	runtime.ReadMemStats(&after)
	if f.made != 1001 {
		t.Errorf("%d more were made", f.made-1001)
	}
	bytes, objects := after.TotalAlloc-before.TotalAlloc, after.Mallocs-before.Mallocs
	t.Logf("a round of 1000 tools unchanged: %d KB in %d objects", bytes>>10, objects)
	if bytes > 4<<20 || objects > 20_000 {
		t.Errorf("%d bytes in %d objects", bytes, objects)
	}
}

// FuzzAnnounced: whatever is announced is a tool that a manifest could be, or is
// refused; the same always comes to the same.
func FuzzAnnounced(f *testing.F) {
	f.Add("a", "d", `{"type":"object"}`, "1s", "true", "toolhand.tool.a")
	f.Add("a b", "", `{`, "", "", "")
	f.Add("a", "d", `{"type":"object","$ref":"#"}`, "-1s", "TRUE", "$SYS.x")
	f.Add("a", "\xff", `{"type":"object","pattern":"("}`, "1e9h", "false", "a.>")
	f.Fuzz(func(t *testing.T, name, description, schema, deadline, idempotent, subject string) {
		if len(schema) > 1<<14 {
			return
		}
		opts := Options{}
		opts.applyDefaults()
		a := Announcement{Service: "x", ID: "1", Subject: subject, Metadata: map[string]string{
			metaTool: name, metaDescription: description, metaSchema: schema, metaDeadline: deadline, metaIdempotent: idempotent}}
		tool, err := opts.announced(a)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 4000 {
				t.Fatalf("an error that fits into no line: %q", err)
			}
			return
		}
		if standard().form.Expect("name", tool.Name) != nil || tool.Description == "" || tool.Deadline <= 0 || tool.Handler == nil || !json.Valid(tool.InputSchema) || tool.File != "" {
			t.Fatalf("taken: %+v", tool)
		}
		_ = tool.Validate(t.Context(), json.RawMessage(`{"a":1}`))
		if _, err := NewTool(Manifest{Name: tool.Name, Description: tool.Description, InputSchema: tool.InputSchema, Deadline: tool.Deadline, Handler: tool.Handler}); err != nil {
			t.Fatalf("taken, and no tool: %v", err)
		}
	})
}

// A service whose tools change all the time keeps those of no other from being read.
func TestNoisyServiceStarvesNoOther(t *testing.T) {
	testkit.OnlyInFull(t)
	// By number of tools, the rounds until what was saved is used up.
	for noisy, saved := range map[int]int{120: 150, 1000: 8} {
		f := newFinder(t, Discover{All: true}, nil)
		schema := fmt.Sprintf(`{"type":"object","enum":[%s{}]}`, strings.Repeat("{},", 49))
		taken := -1
		for round := range saved + 50 {
			var list []Announcement
			for k := range noisy {
				list = append(list, says("noisy", fmt.Sprintf("a%04d", k), metaSchema, schema, metaDescription, fmt.Sprint("round ", round)))
			}
			if round >= saved {
				list = append(list, says("quiet", "z", metaSchema, schema))
			}
			f.Announce(Round{Announcements: list})
			if _, ok := f.Set().Lookup("z"); ok {
				taken = round - saved
				break
			}
		}
		if taken < 0 {
			t.Errorf("beside %d tools that change, a quiet service's tool is not taken", noisy)
		}
		t.Logf("beside %d: taken after %d rounds", noisy, taken)
	}
}

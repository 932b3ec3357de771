package registry

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
)

// The metadata of an endpoint that announces a tool.
const (
	metaPrefix      = "toolhand."
	metaTool        = "toolhand.tool"
	metaDescription = "toolhand.description"
	metaSchema      = "toolhand.input_schema"
	metaDeadline    = "toolhand.deadline"
	metaIdempotent  = "toolhand.idempotent"
)

// MaxAnnounced is the largest number of announced tools that a worker knows at
// once, those that are gone included. It is more than MaxTools since a worker may
// serve many agents.
const MaxAnnounced = 10_000

// Discover says which of the tools that services announce are taken. Its zero
// value is none.
type Discover struct {
	// All takes each; else those of Names are.
	All   bool
	Names []string
	// Below, where it is not empty, is what the subject of each begins with: the
	// others can't be reached here.
	Below string
}

// On reports whether any are taken.
func (d Discover) On() bool { return d.All || len(d.Names) > 0 }

// Announcement is what one instance of a service says of one tool.
type Announcement struct {
	// Service and ID are the service's name and the instance's id.
	Service, ID string
	// Subject is where the tool is asked.
	Subject string
	// Metadata is that of the endpoint.
	Metadata map[string]string
}

// Announces reports whether metadata is meant to announce a tool.
func Announces(metadata map[string]string) bool {
	for key := range metadata {
		if strings.HasPrefix(key, metaPrefix) {
			return true
		}
	}
	return false
}

// Round is what services said when they were asked once.
type Round struct {
	Announcements []Announcement
	// Problems are of answers that can't be read, a line each.
	Problems []string
	// Partial says that somebody may have been missed: nobody's silence counts.
	Partial bool
}

// Announcer is an instance of a service.
type Announcer struct {
	Service string `json:"service"`
	ID      string `json:"id"`
}

// maxAnnouncers bounds how many are named of those that announce one tool.
const maxAnnouncers = 16

// announcers are those who announced a tool when they were asked last. It is the
// one thing of a tool that changes.
type announcers struct {
	now atomic.Pointer[announcedBy]
}

type announcedBy struct {
	some  []Announcer // the first of all
	count int
}

func (a *announcers) set(all []Announcer) {
	some := all[:min(len(all), maxAnnouncers)]
	if old := a.now.Load(); old == nil || old.count != len(all) || !slices.Equal(old.some, some) {
		a.now.Store(&announcedBy{slices.Clone(some), len(all)})
	}
}

// Announcers are those who announced the tool when services were asked last, the
// first 16 by name and id, and their number: 0 for a tool that has a manifest.
func (t *Tool) Announcers() (some []Announcer, count int) {
	if t.announcers == nil {
		return nil, 0
	}
	by := t.announcers.now.Load()
	return slices.Clone(by.some), by.count
}

// digest is the same for announcements that say the same of a tool, and for the same
// texts.
type digest [sha256.Size]byte

func digestOf(texts ...string) (d digest) {
	h := sha256.New()
	for _, text := range texts {
		_ = binary.Write(h, binary.BigEndian, uint64(len(text))) // a hash takes all
		_, _ = io.WriteString(h, text)
	}
	h.Sum(d[:0])
	return d
}

func (a Announcement) digest() (d digest) {
	h := sha256.New()
	write := func(text string, there bool) {
		var size [9]byte
		binary.BigEndian.PutUint64(size[1:], uint64(len(text)))
		if there {
			size[0] = 1
		}
		h.Write(size[:])
		io.WriteString(h, text)
	}
	write(a.Subject, true)
	for _, key := range []string{metaTool, metaDescription, metaSchema, metaDeadline, metaIdempotent} {
		text, there := a.Metadata[key]
		write(text, there)
	}
	h.Sum(d[:0])
	return d
}

func (a Announcement) compare(b Announcement) int {
	return cmp.Or(cmp.Compare(a.Metadata[metaTool], b.Metadata[metaTool]), cmp.Compare(a.Service, b.Service), cmp.Compare(a.ID, b.ID))
}

// unknownKeys are those of ours that mean nothing.
func (a Announcement) unknownKeys() (keys []string) {
	for key := range a.Metadata {
		switch key {
		case metaTool, metaDescription, metaSchema, metaDeadline, metaIdempotent:
		default:
			if strings.HasPrefix(key, metaPrefix) {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return keys
}

// announced makes the tool of an announcement. It is read as the manifest that
// says the same would be, by the same code.
func (o *Options) announced(a Announcement) (*Tool, error) {
	if below := o.Discover.Below; !strings.HasPrefix(a.Subject, below) {
		return nil, fmt.Errorf("the subject %s can't be reached here: expected one below %s", quoteShort(a.Subject), strings.TrimSuffix(below, "."))
	}
	m := &manifest{problems: &problems{file: a.Metadata[metaTool]}, opts: o}
	top := m.asManifest(a)
	t := &Tool{Kind: "nats", announcers: &announcers{}}
	t.Name = m.name(top)
	t.Description = m.description(top)
	m.limits(top, t)
	if n := top.get("input_schema"); n != nil {
		if t.schema = compileSchema(m.problems, n, schemaHome{}); t.schema != nil {
			t.InputSchema = n.json()
		}
	}
	m.handler("nats", top.get("handler").get("nats"), t)
	if len(m.list) == 0 {
		m.conform(top)
	}
	if len(m.list) > 0 {
		var all []error
		for _, p := range m.sorted()[:min(len(m.list), 3)] {
			all = append(all, errors.New(strings.ReplaceAll(p.Text, "\n", " ")))
		}
		return nil, joined(all)
	}
	return t, nil
}

// joined is several errors in one line.
func joined(all []error) error {
	var texts []string
	for _, err := range all {
		texts = append(texts, err.Error())
	}
	return errors.New(strings.Join(texts, "; "))
}

// asManifest is the manifest that says what the announcement does.
func (m *manifest) asManifest(a Announcement) *node {
	top := &node{kind: kindObject, line: 1, column: 1}
	put := func(n *node, key string, value *node) {
		n.keys, n.items = append(n.keys, scalar(kindString, key)), append(n.items, value)
	}
	for _, key := range []string{metaTool, metaDescription, metaDeadline} {
		if text, ok := a.Metadata[key]; ok {
			put(top, map[string]string{metaTool: "name", metaDescription: "description", metaDeadline: "deadline"}[key], scalar(kindString, text))
		}
	}
	if text, ok := a.Metadata[metaIdempotent]; ok {
		kind := kindString // which is refused
		if text == "true" || text == "false" {
			kind = kindBool
		}
		put(top, "idempotent", scalar(kind, text))
	}
	switch text, ok := a.Metadata[metaSchema]; {
	case !ok:
		m.at(top, "the key input_schema is missing: expected a JSON Schema")
	case len(text) > maxFileBytes:
		m.at(top, "input_schema: expected at most %d bytes, found %d", maxFileBytes, len(text))
	default:
		before := len(m.list)
		if n := parseJSON(m.problems, []byte(text)); n != nil {
			put(top, "input_schema", n)
		}
		for i := range m.list[before:] {
			m.list[before+i].Text = "input_schema: " + m.list[before+i].Text
		}
	}
	nats, handler := &node{kind: kindObject}, &node{kind: kindObject}
	put(nats, "subject", scalar(kindString, a.Subject))
	put(handler, "nats", nats)
	put(top, "handler", handler)
	return top
}

func scalar(k kind, text string) *node { return &node{kind: k, text: text, line: 1, column: 1} }

// away is a tool that nobody announces now: its calls are answered with why.
func away(name string, last *Tool, why error) *Tool {
	s := Spec{Name: name, Description: "A tool that no service announces now.", Kind: "nats", Handler: unreachable{why}}
	if last != nil {
		s.Deadline, s.DeadlineText, s.Idempotent = last.Deadline, last.DeadlineText, last.Idempotent
	}
	t, err := NewTool(s)
	if err != nil {
		panic(err) // names are checked where they come in, and the rest is ours
	}
	return t
}

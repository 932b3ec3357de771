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
	"time"

	"toolhand/internal/document"
	"toolhand/internal/schema"
	"toolhand/internal/tools"
	toolnats "toolhand/internal/tools/nats"
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

// announced makes the tool of an announcement.
func (o *Options) announced(a Announcement) (*Tool, error) {
	if below := o.Discover.Below; !strings.HasPrefix(a.Subject, below) {
		return nil, fmt.Errorf("the subject %s can't be reached here: expected one below %s", document.Quote(a.Subject), strings.TrimSuffix(below, "."))
	}
	ps := &document.Problems{}
	m := a.manifest(ps)
	var n *document.Node
	var s *schema.Schema
	if text, ok := a.Metadata[metaSchema]; !ok {
		ps.Add("expected %s, a JSON Schema, found none", metaSchema)
	} else if len(text) > document.MaxFile {
		ps.Add("input_schema: expected at most %d bytes, found %d", document.MaxFile, len(text))
	} else {
		n, s = compileText(ps, []byte(text), schema.Options{Log: o.Log})
	}
	t := newTool(ps, m, n, s)
	common := tools.Common{Name: m.Name, MaxResultBytes: DefaultMaxResultBytes, Idempotent: m.Idempotent, Log: o.Log, LookupEnv: o.LookupEnv}
	handler, err := o.format.kind("nats").make(&toolnats.Config{Subject: a.Subject}, common, o.Dependencies)
	if err != nil {
		ps.Add("%v", err)
	}
	if err := ps.Err(); err != nil {
		var texts []string
		for _, p := range ps.List[:min(len(ps.List), 3)] {
			texts = append(texts, document.OneLine(p.Bare()))
		}
		return nil, errors.New(strings.Join(texts, "; "))
	}
	t.Handler, t.announcers = handler, &announcers{}
	return t, nil
}

// manifest is what the announcement says.
func (a Announcement) manifest(ps *document.Problems) Manifest {
	m := Manifest{Name: a.Metadata[metaTool], Description: a.Metadata[metaDescription], DeadlineText: a.Metadata[metaDeadline], Kind: "nats"}
	if strings.TrimSpace(m.Description) == "" {
		ps.Add("expected %s, what the tool does and when to use it, found none", metaDescription)
	}
	if text, ok := a.Metadata[metaDeadline]; ok {
		var err error
		if m.Deadline, err = time.ParseDuration(text); err != nil || m.Deadline <= 0 {
			ps.Add("%s: expected a duration above zero such as 120s, found %s", metaDeadline, document.Quote(text))
		}
	}
	switch text, ok := a.Metadata[metaIdempotent]; {
	case text == "true":
		m.Idempotent = true
	case ok && text != "false":
		ps.Add("%s: expected true or false, found %s", metaIdempotent, document.Quote(text))
	}
	return m
}

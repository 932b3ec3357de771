package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Entry is what the journal holds of one call.
type Entry struct {
	// Session and Call are the ids that the entry stands for. Any text in
	// UTF-8 will do.
	Session string
	Call    string
	// Tool and Thread are kept as they are.
	Tool   string
	Thread string
	// Owner names who writes. It must be another one in each process, so that
	// a write whose outcome was unknown can be told from somebody else's.
	Owner string
	// Received and Deadline are wall-clock times, kept to the nanosecond.
	Received time.Time
	Deadline time.Time
	// Finished reports that Content, IsError and Outcome are set. Else the
	// call was started, and nothing is known of what became of it.
	Finished bool
	// Content is the result, byte for byte.
	Content []byte
	IsError bool
	// Outcome is the word for it in logs.
	Outcome string
	// Quarantined is why the result can't be sent and is kept for people.
	// Empty: it is not set aside.
	Quarantined string
	// Withheld is the size of a content that [Journal.Recover] left in the journal.
	Withheld int
	// Revision is the fence: the number that the last write of this entry
	// got. 0: it was never written.
	Revision uint64
}

// version of the encoding that is written. A reader that meets a higher one
// stops: it can't know what it would lose.
const version = 1

// head is the first line of a value, in JSON; the content follows it as it is.
type head struct {
	Version     int       `json:"v"`
	Session     string    `json:"session"`
	Call        string    `json:"call"`
	Tool        string    `json:"tool,omitempty"`
	Thread      string    `json:"thread,omitempty"`
	Owner       string    `json:"owner"`
	Received    time.Time `json:"received,omitzero"`
	Deadline    time.Time `json:"deadline,omitzero"`
	Finished    bool      `json:"finished,omitempty"`
	IsError     bool      `json:"is_error,omitempty"`
	Outcome     string    `json:"outcome,omitempty"`
	Quarantined string    `json:"quarantined,omitempty"`
}

var (
	// ErrNewer says that an entry was written by a newer worker.
	ErrNewer = errors.New("the journal's entry was written by a newer worker; use that version, or empty the journal with it first")
	// errBroken says that a value is none of ours.
	errBroken = errors.New("no entry of a journal")
	// errID says that an entry can't be told from others by its ids.
	errID = errors.New("the id is not UTF-8")
)

// encode gives the value of an entry. Equal entries have equal values.
func encode(e Entry) ([]byte, error) {
	if !utf8.ValidString(e.Session) || !utf8.ValidString(e.Call) {
		return nil, errID
	}
	line, err := json.Marshal(head{
		version, e.Session, e.Call, e.Tool, e.Thread, e.Owner, e.Received.UTC().Round(0), e.Deadline.UTC().Round(0),
		e.Finished, e.IsError, e.Outcome, e.Quarantined,
	})
	if err != nil {
		return nil, err // a year beyond 9999
	}
	value := make([]byte, 0, len(line)+1+len(e.Content))
	value = append(append(value, line...), '\n')
	return append(value, e.Content...), nil
}

// decode reads a value. The entry's Revision is the caller's to set.
func decode(value []byte) (Entry, error) {
	line, content, ok := bytes.Cut(value, []byte("\n"))
	if !ok {
		return Entry{}, errBroken
	}
	var v struct {
		Version int `json:"v"`
	}
	if json.Unmarshal(line, &v) != nil || v.Version < 1 {
		return Entry{}, errBroken
	}
	if v.Version > version {
		return Entry{}, fmt.Errorf("%w (version %d, ours is %d)", ErrNewer, v.Version, version)
	}
	var h head
	if err := json.Unmarshal(line, &h); err != nil {
		return Entry{}, fmt.Errorf("%w: %w", errBroken, err)
	}
	e := Entry{
		Session: h.Session, Call: h.Call, Tool: h.Tool, Thread: h.Thread, Owner: h.Owner,
		Received: h.Received, Deadline: h.Deadline, Finished: h.Finished, IsError: h.IsError,
		Outcome: h.Outcome, Quarantined: h.Quarantined,
	}
	if len(content) > 0 {
		e.Content = content
	}
	return e, nil
}

// maxID is the longest id that stands in a key as it is.
const maxID = 128

// token is an id as part of a key. One that is not plain, or could be more than
// one part of a subject, is replaced by its digest behind a sign that no plain
// one has; the entry itself has the id.
func token(id string) string {
	if isPlain(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "=" + base64.RawURLEncoding.EncodeToString(sum[:])
}

func isPlain(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// key is where the entry of a call stands in the bucket.
func key(session, call string) string { return token(session) + "." + token(call) }

// ids are those of a key, where both stand in it as they are.
func ids(key string) (session, call string, ok bool) {
	session, call, ok = strings.Cut(key, ".")
	return session, call, ok && isPlain(session) && isPlain(call)
}

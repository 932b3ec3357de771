package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"toolhand/internal/journal"
)

// shownEntry is an entry as --json prints it.
type shownEntry struct {
	ID      string `json:"id"`
	Session string `json:"session"`
	Thread  string `json:"thread,omitempty"`
	Tool    string `json:"tool"`
	// State is started, finished or quarantined.
	State   string `json:"state"`
	Outcome string `json:"outcome,omitempty"`
	// Cause is why the result is set aside.
	Cause    string          `json:"cause,omitempty"`
	Received time.Time       `json:"received,omitzero"`
	Deadline time.Time       `json:"deadline,omitzero"`
	Written  time.Time       `json:"written"`
	Revision uint64          `json:"revision"`
	Owner    string          `json:"owner"`
	IsError  bool            `json:"is_error,omitempty"`
	Content  json.RawMessage `json:"content,omitempty"`
}

func shown(f journal.Found) shownEntry {
	e := shownEntry{ID: f.Call, Session: f.Session, Thread: f.Thread, Tool: f.Tool, State: "started", Outcome: f.Outcome, Cause: f.Quarantined,
		Received: f.Received, Deadline: f.Deadline, Written: f.Written, Revision: f.Revision, Owner: f.Owner, IsError: f.IsError, Content: f.Content}
	if len(e.Content) > 0 && !json.Valid(e.Content) {
		e.Content, _ = json.Marshal(string(e.Content)) // a string always marshals
	}
	switch {
	case f.Quarantined != "":
		e.State = "quarantined"
	case f.Finished:
		e.State = "finished"
	}
	return e
}

func printEntries(out io.Writer, found []journal.Found, asJSON bool) error {
	for i, f := range found {
		e := shown(f)
		var err error
		switch {
		case asJSON:
			enc := json.NewEncoder(out)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			err = enc.Encode(e)
		case i > 0:
			fmt.Fprintln(out)
			fallthrough
		default:
			err = e.print(out)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// meanings are what people read beside a state.
var meanings = map[string]string{
	"started":     "what came of it is not known yet",
	"finished":    "the API has not accepted the result yet",
	"quarantined": "the API refused the result for good",
}

// print shows an entry to people.
func (e shownEntry) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Local().Format(time.RFC3339)
	}
	result := ""
	switch size := fmt.Sprintf("%d bytes", len(e.Content)); {
	case e.State == "started":
	case len(e.Content) == 0:
		result = "not kept any more: it was too old"
	case e.IsError:
		result = "an error, " + size
	default:
		result = size
	}
	for _, line := range [][2]string{
		{"call", e.ID}, {"session", e.Session}, {"thread", e.Thread}, {"tool", e.Tool}, {"state", e.State + ": " + meanings[e.State]},
		{"outcome", e.Outcome}, {"cause", e.Cause}, {"received", at(e.Received)}, {"deadline", at(e.Deadline)}, {"written", at(e.Written)},
		{"result", result},
	} {
		if line[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", line[0], printable(line[1]))
		}
	}
	if err := w.Flush(); err != nil || len(e.Content) == 0 {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s", e.text())
	return err
}

// text is the text of a result; of what is no text it has the kind and the size.
func (e shownEntry) text() string {
	var raw []json.RawMessage
	if json.Unmarshal(e.Content, &raw) != nil {
		return fmt.Sprintf("[no content blocks, %d bytes]\n", len(e.Content))
	}
	var b strings.Builder
	for _, r := range raw {
		var block struct {
			Type, Text string
			Source     struct {
				MediaType string `json:"media_type"`
				Data      []byte // base64, which is the form of a []byte in JSON
			}
		}
		err := json.Unmarshal(r, &block)
		switch size := len(block.Source.Data); {
		case block.Type == "text":
			lines := strings.Split(strings.TrimSuffix(block.Text, "\n"), "\n")
			for _, line := range lines {
				b.WriteString(printable(strings.ReplaceAll(line, "\t", "    ")) + "\n")
			}
		case err == nil && size > 0:
			fmt.Fprintf(&b, "[%s, %s, %d bytes]\n", printable(block.Type), printable(block.Source.MediaType), size)
		default:
			fmt.Fprintf(&b, "[%s, %d bytes]\n", printable(block.Type), len(r))
		}
	}
	return b.String()
}

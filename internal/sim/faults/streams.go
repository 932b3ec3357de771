package faults

import (
	"bytes"
	"slices"
	"strings"

	"toolhand/internal/sim"
)

// WithholdTypes is [sim.Withhold] for the types named.
func WithholdTypes(types ...string) sim.Action {
	return sim.Withhold(func(typ string) bool { return slices.Contains(types, typ) })
}

// CutAfter ends the stream after n events: with [sim.ErrEOF] or [sim.ErrReset]. Zero
// ends it in place of the first event.
func CutAfter(n int, end error) sim.Action {
	return sim.Frames(func() func(sim.Frame) ([][]byte, error) {
		left := n
		return func(f sim.Frame) ([][]byte, error) {
			if f.Type == "ping" {
				return [][]byte{f.Bytes}, nil
			}
			if left--; left < 0 {
				return nil, end
			}
			if left == 0 {
				return [][]byte{f.Bytes}, end
			}
			return [][]byte{f.Bytes}, nil
		}
	})
}

// Reorder holds back events until n have come, then writes them newest first.
// A heartbeat lets out those that are held.
func Reorder(n int) sim.Action {
	return sim.Frames(func() func(sim.Frame) ([][]byte, error) {
		var held [][]byte
		return func(f sim.Frame) ([][]byte, error) {
			if f.Type != "ping" {
				held = append(held, bytes.Clone(f.Bytes))
				if len(held) < n {
					return nil, nil
				}
			}
			out := held
			held = nil
			slices.Reverse(out)
			if f.Type == "ping" {
				out = append(out, f.Bytes)
			}
			return out, nil
		}
	})
}

// Rewrite passes each frame through a function of its text.
func Rewrite(change func(frame string) string) sim.Action {
	return sim.Frames(func() func(sim.Frame) ([][]byte, error) {
		return func(f sim.Frame) ([][]byte, error) { return [][]byte{[]byte(change(string(f.Bytes)))}, nil }
	})
}

// Before writes bytes in front of the first frame: a byte order mark, a comment.
func Before(text string) sim.Action {
	return sim.Frames(func() func(sim.Frame) ([][]byte, error) {
		first := true
		return func(f sim.Frame) ([][]byte, error) {
			if !first {
				return [][]byte{f.Bytes}, nil
			}
			first = false
			return [][]byte{append([]byte(text), f.Bytes...)}, nil
		}
	})
}

// NoBlankLine ends the stream after the n-th event, whose blank line is missing.
func NoBlankLine(n int) sim.Action {
	return sim.Frames(func() func(sim.Frame) ([][]byte, error) {
		left := n
		return func(f sim.Frame) ([][]byte, error) {
			if f.Type == "ping" {
				return [][]byte{f.Bytes}, nil
			}
			if left--; left > 0 {
				return [][]byte{f.Bytes}, nil
			}
			return [][]byte{bytes.TrimSuffix(f.Bytes, []byte("\n"))}, sim.ErrEOF
		}
	})
}

// CRLF ends the lines of the stream with CR and LF.
func CRLF() sim.Action {
	return Rewrite(func(f string) string { return strings.ReplaceAll(f, "\n", "\r\n") })
}

// CROnly ends the lines of the stream with CR alone.
func CROnly() sim.Action {
	return Rewrite(func(f string) string { return strings.ReplaceAll(f, "\n", "\r") })
}

// BOM begins the stream with a byte order mark.
func BOM() sim.Action { return Before("\ufeff") }

// Comments puts a comment in front of each line but the last.
func Comments() sim.Action {
	return Rewrite(func(f string) string {
		return ": a comment\n" + strings.ReplaceAll(strings.TrimSuffix(f, "\n"), "\n", "\n:another: one\n") + "\n"
	})
}

// NoSpace leaves out the space after a field's colon.
func NoSpace() sim.Action {
	return Rewrite(func(f string) string {
		lines := strings.Split(f, "\n")
		for i, line := range lines {
			if name, value, found := strings.Cut(line, ": "); found && !strings.ContainsAny(name, "{\"") {
				lines[i] = name + ":" + value
			}
		}
		return strings.Join(lines, "\n")
	})
}

// MultiLine breaks an event's JSON into two data lines, in front of its id.
func MultiLine() sim.Action {
	return Rewrite(func(f string) string { return strings.Replace(f, `,"id":`, ",\ndata: \"id\":", 1) })
}

// NoEventField leaves out the event lines, so that only the data tell the type.
// Heartbeats keep theirs.
func NoEventField() sim.Action {
	return Rewrite(func(f string) string {
		if strings.HasPrefix(f, "event: ping\n") {
			return f
		}
		_, rest, _ := strings.Cut(f, "\n")
		return rest
	})
}

// ErrorFrame writes an `event: error` in place of the n-th event (from 1), as
// the API does when a stream fails; the stream stays open.
func ErrorFrame(n int) sim.Action {
	const text = "event: error\ndata: " + `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_sim"}` + "\n\n"
	return sim.Frames(func() func(sim.Frame) ([][]byte, error) {
		count := 0
		return func(f sim.Frame) ([][]byte, error) {
			if f.Type != "ping" {
				if count++; count == n {
					return [][]byte{[]byte(text)}, nil
				}
			}
			return [][]byte{f.Bytes}, nil
		}
	})
}

// Oddities writes, in front of each event, what a client has to ignore: an
// unknown type, an empty data line, a frame without data, unknown fields, a
// retry, a preview.
func Oddities() sim.Action {
	noise := "event: agent.dreams\ndata: {\"type\":\"agent.dreams\",\"id\":\"sevt_odd\",\"of\":[1e400]}\n\n" +
		"event: agent.message\ndata:\n\n" +
		"event: agent.message\n\n" +
		"retry: 10\nid: 7\nunknown: field\nbare\n\n" +
		"event: event_start\ndata: {\"type\":\"event_start\",\"event\":{\"type\":\"agent.message\",\"id\":\"sevt_odd\"}}\n\n" +
		"event: event_delta\ndata: {\"type\":\"event_delta\",\"event_id\":\"sevt_odd\",\"delta\":{\"type\":\"content_delta\",\"index\":0,\"content\":{\"type\":\"text\",\"text\":\"a\"}}}\n\n"
	return Rewrite(func(f string) string { return noise + f })
}

// BadJSON writes a frame whose JSON is broken in front of each event.
func BadJSON() sim.Action {
	return Rewrite(func(f string) string { return "event: agent.custom_tool_use\ndata: {\"type\":\"agent.cus\n\n" + f })
}

// HugeLine writes a message of n bytes on one line in front of the first event.
// 33<<20 is more than the official SDK's decoder bears.
func HugeLine(n int) sim.Action {
	return Before("event: agent.message\ndata: {\"type\":\"agent.message\",\"id\":\"sevt_huge\"," +
		"\"processed_at\":\"2026-01-01T00:00:00Z\",\"content\":[{\"type\":\"text\",\"text\":\"" +
		strings.Repeat("x", n) + "\"}]}\n\n")
}

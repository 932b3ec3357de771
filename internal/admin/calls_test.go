package admin

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// listed are the ids of the calls in an answer.
func listed(body map[string]any) string {
	var ids []string
	calls, _ := body["calls"].([]any)
	for _, c := range calls {
		ids = append(ids, c.(map[string]any)["id"].(string))
	}
	return strings.Join(ids, " ")
}

func TestCallsAreFiltered(t *testing.T) {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	calls := &Calls{}
	calls.Add(Call{ID: "one", Session: "s1", Tool: "pay", Outcome: "ok", Received: at, Duration: 1.5})
	calls.Add(Call{ID: "two", Session: "s1", Thread: "t", Tool: "look", Outcome: "error", Cause: "it is broken", Received: at})
	calls.Add(Call{ID: "three", Session: "s2", Tool: "pay", Outcome: "error"})
	s := start(t, "", nil, func(s *Server) { s.Calls(calls, []string{"ok", "error", "denied"}) })
	for query, want := range map[string]string{
		"":                        "three two one",
		"?":                       "three two one",
		"?tool=pay":               "three one",
		"?session=s1":             "two one",
		"?outcome=error":          "three two",
		"?outcome=denied":         "",
		"?tool=pay&outcome=ok":    "one",
		"?tool=pay&session=other": "",
		"?tool=p%61y&session=s2":  "three",
	} {
		status, body, _ := ask(t, s, "GET", "/api/v1/calls"+query)
		if got := listed(body); status != http.StatusOK || got != want || body["calls"] == nil {
			t.Errorf("%s: %d %q, want %q", query, status, got, want)
		}
	}
	for query, want := range map[string]string{
		"?tol=pay":             `unknown key "tol" in the query, expected outcome, session, tool`,
		"?tool=pay&limit=5":    `unknown key "limit" in the query, expected outcome, session, tool`,
		"?outcome=OK":          `unknown outcome "OK", expected one of ok, error, denied`,
		"?tool=":               "tool has no value or several, expected one",
		"?tool=pay&tool=look":  "tool has no value or several, expected one",
		"?tool=pay;session=s1": "the query can't be read: invalid semicolon separator in query",
		"?tool=%zz":            `the query can't be read: invalid URL escape "%zz"`,
	} {
		status, body, _ := ask(t, s, "GET", "/api/v1/calls"+query)
		if status != http.StatusBadRequest || body["error"] != want {
			t.Errorf("%s: %d %v, want 400 %s", query, status, body, want)
		}
	}
	_, body, _ := ask(t, s, "GET", "/api/v1/calls?session=s1")
	want := "[map[cause:it is broken duration_ms:0 id:two outcome:error received:2026-11-01T12:00:00Z session:s1 thread:t tool:look]" +
		" map[duration_ms:1.5 id:one outcome:ok received:2026-11-01T12:00:00Z session:s1 tool:pay]]"
	if got := fmt.Sprint(body["calls"]); got != want {
		t.Errorf("shown are %s, want %s", got, want)
	}
}

// The address asks for a token here as everywhere, and a server without calls has
// none.
func TestCallsOfNobody(t *testing.T) {
	s := start(t, "secret", nil, nil)
	if status, body, _ := ask(t, s, "GET", "/api/v1/calls"); status != http.StatusUnauthorized {
		t.Errorf("%d %v", status, body)
	}
	if status, body, _ := ask(t, s, "GET", "/api/v1/calls", "Authorization", "Bearer secret"); status != http.StatusOK || fmt.Sprint(body) != "map[calls:[]]" {
		t.Errorf("%d %v", status, body)
	}
}

// However many calls there were, and however long their names: the last thousand are
// kept, in bounded memory.
func TestCallsAreBounded(t *testing.T) {
	calls := &Calls{}
	given := 0
	for _, n := range []int{1, maxCalls - 1, 1, maxCalls/2 + 1, 3 * maxCalls} {
		var last string
		for range n {
			given++
			last = fmt.Sprintf("sevt_%09d", given)
			calls.Add(Call{ID: last})
		}
		got := calls.last(func(Call) bool { return true })
		if len(got) != min(given, maxCalls) || got[0].ID != last {
			t.Fatalf("%d calls of %d, the last is %s, want %s", len(got), given, got[0].ID, last)
		}
		for i := 1; i < len(got); i++ {
			if got[i].ID > got[i-1].ID {
				t.Fatalf("%s comes before %s", got[i-1].ID, got[i].ID)
			}
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range maxCalls {
		long := strings.Repeat("ä", 1<<16)
		calls.Add(Call{ID: long, Session: long, Thread: long, Tool: long, Outcome: long, Cause: long})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("a thousand calls take %d bytes", grown)
	}
	if got := calls.last(func(Call) bool { return true }); len(got) != maxCalls || len(got[0].ID) > maxName || len(got[0].Cause) > maxCause ||
		!strings.HasSuffix(got[0].Cause, "ä…") {
		t.Errorf("%d calls, the last with an id of %d bytes, caused by %q", len(got), len(got[0].ID), got[0].Cause)
	}
}

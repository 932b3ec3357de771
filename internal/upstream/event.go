package upstream

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/tidwall/gjson"
)

// The types of events that matter to a worker, as the API names them.
const (
	TypeCall              = "agent.custom_tool_use"
	TypeResult            = "user.custom_tool_result"
	TypeInterrupt         = "user.interrupt"
	TypeConfirmation      = "user.tool_confirmation"
	TypeIdle              = "session.status_idle"
	TypeRunning           = "session.status_running"
	TypeRescheduled       = "session.status_rescheduled"
	TypeTerminated        = "session.status_terminated"
	TypeDeleted           = "session.deleted"
	TypeSessionError      = "session.error"
	TypeThreadCreated     = "session.thread_created"
	TypeThreadIdle        = "session.thread_status_idle"
	TypeThreadRunning     = "session.thread_status_running"
	TypeThreadRescheduled = "session.thread_status_rescheduled"
	TypeThreadTerminated  = "session.thread_status_terminated"
	TypeToolUse           = "agent.tool_use"
	TypeMCPToolUse        = "agent.mcp_tool_use"
	TypeMessage           = "agent.message"
	TypeUserMessage       = "user.message"
	TypeUndecodable       = "" // something came that could not be decoded
	StopRequiresAction    = "requires_action"
	PermissionAllow       = "allow" // of a call, and of a confirmation
	PermissionDeny        = "deny"
	maxEventError         = 300
	maxPermission         = 100
)

// Event is what a worker needs of one event. Fields that its type does not have
// are zero.
type Event struct {
	// Type is the API's type, or TypeUndecodable where something came that
	// could not be read: an event may be missing then.
	Type string
	// ID is the event's id (sevt_…); that of an interrupt may be empty.
	ID string
	// ProcessedAt is when the API processed the event; zero while it is queued.
	ProcessedAt time.Time
	// Thread is the session thread that the event belongs to, or empty.
	Thread string
	// Name and Input are a call's tool and input, the input byte for byte.
	Name  string
	Input json.RawMessage
	// Permission is what the API decided on a call: empty or PermissionAllow
	// where it may run, PermissionDeny where it may not; with anything else it
	// waits for a confirmation. Of a confirmation it is what the user decided.
	Permission string
	// CallID is the call that a result answers, or a confirmation is for.
	CallID string
	// StopReason is why a session or thread is idle.
	StopReason string
	// EventIDs is what a session or thread waits for.
	EventIDs []string
	// ErrorType is what a session.error is; Message is its text, shortened.
	ErrorType string
	Message   string
}

// wanted reports whether events of this type are decoded beyond their type and
// id.
func wanted(eventType string) bool {
	switch eventType {
	case TypeCall, TypeResult, TypeInterrupt, TypeConfirmation, TypeIdle, TypeRunning, TypeRescheduled,
		TypeTerminated, TypeDeleted, TypeSessionError, TypeThreadCreated, TypeThreadIdle,
		TypeThreadRunning, TypeThreadRescheduled, TypeThreadTerminated, TypeToolUse, TypeMCPToolUse:
		return true
	}
	return false
}

// bulky reports whether events of this type can be large and tell a worker
// nothing, so that they are passed over without a look at the rest.
func bulky(eventType string) bool {
	switch eventType {
	case TypeMessage, TypeUserMessage, "agent.thinking", "agent.tool_result", "agent.mcp_tool_result",
		"event_start", "event_delta":
		return true
	}
	return false
}

// decode reads one event. It keeps nothing of data.
func decode(data []byte) Event {
	e := Event{Type: gjson.GetBytes(data, "type").String()}
	if !wanted(e.Type) {
		switch {
		case bulky(e.Type):
		case !gjson.ValidBytes(data):
			// What looks like a type we don't know may be half of one we do.
			return Event{Type: TypeUndecodable}
		case e.Type == "":
			e.Type = "untyped"
		}
		return e
	}
	if !gjson.ValidBytes(data) {
		return Event{Type: TypeUndecodable}
	}
	// One walk over the top level: contents can be large, and each look-up by
	// path would scan them again.
	gjson.ParseBytes(data).ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "id":
			e.ID = cloned(v)
		case "processed_at":
			e.ProcessedAt = timeOf(v)
		case "session_thread_id":
			e.Thread = cloned(v)
		case "name":
			e.Name = cloned(v)
		case "input":
			e.Input = bytes.Clone([]byte(v.Raw))
		case "evaluated_permission":
			e.Permission = permissionOf(v)
		case "result":
			e.Permission = permissionOf(v)
		case "custom_tool_use_id", "tool_use_id":
			e.CallID = cloned(v)
		case "stop_reason":
			e.StopReason = cloned(v.Get("type"))
			for _, id := range v.Get("event_ids").Array() {
				e.EventIDs = append(e.EventIDs, cloned(id))
			}
		case "error":
			e.ErrorType = shorten(cloned(v.Get("type")), maxEventError)
			e.Message = shorten(v.Get("message").String(), maxEventError)
		}
		return true
	})
	if e.Type == TypeCall && (e.ID == "" || e.Name == "") {
		return Event{Type: TypeUndecodable}
	}
	return e
}

// permissionOf is a decision as it is told. What is no text stands for itself, so
// that it is nothing that would let a call run.
func permissionOf(v gjson.Result) string {
	switch v.Type {
	case gjson.Null:
		return ""
	case gjson.String:
		return cloned(v)
	}
	return shorten(string([]byte(v.Raw)), maxPermission)
}

// cloned is a string that does not keep the event's bytes alive.
func cloned(v gjson.Result) string {
	if v.Type != gjson.String {
		return ""
	}
	return string([]byte(v.Str))
}

func timeOf(v gjson.Result) time.Time {
	if v.Type != gjson.String {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, v.Str)
	if err != nil {
		return time.Time{}
	}
	return t
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}

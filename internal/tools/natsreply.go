package tools

import (
	"bytes"
	"encoding/json"
	"strings"
)

// OutcomeHeader of a reply says, where a worker serves the tool, what the call
// came to: the asking worker decides by it whether the call may be tried again.
const OutcomeHeader = "Toolhand-Outcome"

// TimeLeftHeader of a request and of a job is how many milliseconds its call had left
// when it was sent. Tool-Deadline says the same by the sender's clock, which may differ
// from that of who receives it.
const TimeLeftHeader = "Tool-Time-Left"

// PassingHeader is "true" beside [OutcomeUnavailable] to say that another attempt may succeed
// at once: who served the call has shut down while it waited for its next one.
const PassingHeader = "Toolhand-Passing"

// The outcomes in [OutcomeHeader] that are no result of the tool.
const (
	// OutcomeUnavailable: the tool behind the server surely did not run.
	OutcomeUnavailable = "unavailable"
	// OutcomeUnknown: it may have run.
	OutcomeUnknown = "unknown_outcome"
)

// EncodeReply is a result as the data of a reply.
func EncodeReply(r Result) []byte {
	var b bytes.Buffer
	b.Grow(len(r.Content) + 32)
	b.WriteString(`{"content":`)
	b.Write(r.Content)
	if r.IsError {
		b.WriteString(`,"is_error":true`)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// ReplyText is the text of a reply's first block, without the words that the
// asking worker says itself before the reason.
func ReplyText(data []byte) string {
	var reply struct {
		Content []struct{ Text string }
	}
	if json.Unmarshal(data, &reply) != nil || len(reply.Content) == 0 {
		return "the serving worker gave no reason"
	}
	text := reply.Content[0].Text
	for _, said := range []string{" is unavailable: ", ": its outcome is unknown: "} {
		if _, why, ok := strings.Cut(text, said); ok && strings.HasPrefix(text, `Tool "`) {
			return why
		}
	}
	return text
}

package mcp

import (
	"time"

	"toolhand/internal/tools"
)

// SetBounds shortens how long a server at a URL may take to be ready, and a server to
// answer a ping. Call it before anything else.
func (s *Servers) SetBounds(start, ping time.Duration) { s.start, s.ping = start, ping }

// SetProgram shortens how long a program may take to be ready, and when the tools are
// loaded anew.
func (s *Servers) SetProgram(bound, reload time.Duration) { s.program, s.reload = bound, reload }

// SetFresh changes how much of the tools may be new in a window.
func (s *Servers) SetFresh(values int, window time.Duration) {
	s.freshValues, s.freshWindow = values, window
}

// Result is how a server's answer becomes a result.
func Result(answer string, max int) tools.Result { return resultOf([]byte(answer), max) }

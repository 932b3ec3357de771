package tools

import "time"

// SetBounds shortens how long a server may take to be ready, and to read. Call it
// before anything else.
func (s *Servers) SetBounds(start, write time.Duration) { s.start, s.write = start, write }

// MCPResult is how a server's answer becomes a result.
func MCPResult(answer string, max int) Result { return mcpResult([]byte(answer), max) }

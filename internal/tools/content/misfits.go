package content

import (
	"context"
	"log/slog"
	"sync"

	"github.com/tidwall/gjson"

	"toolhand/internal/tools"
)

// maxMisfits bounds the reasons that are told of one tool. They hold numbers of blocks and
// names of keys, so that a tool may come up with new ones all the time.
const maxMisfits = 20

// Misfits tells of answers that were meant as content blocks and are taken as text, once a
// tool and reason. The zero value is ready; its methods may be called by many goroutines.
type Misfits struct {
	mu   sync.Mutex
	told map[string]bool // guarded by mu
}

// Tell tells the reason to the call's [tools.Watcher], or else to log, which names the
// tool. An empty reason is none.
func (m *Misfits) Tell(ctx context.Context, log *slog.Logger, reason string) {
	if reason == "" {
		return
	}
	const text = "the answer looks like content blocks, but is taken as text"
	if w, ok := tools.WatcherOf(ctx); ok {
		w.Warn(text + ": " + reason)
		return
	}
	m.mu.Lock()
	known := m.told[reason] || len(m.told) == maxMisfits
	if !known {
		if m.told == nil {
			m.told = map[string]bool{}
		}
		m.told[reason] = true
	}
	m.mu.Unlock()
	if !known {
		log.Warn(text, "reason", reason)
	}
}

// meantAsBlocks reports whether the members of an answer, or its content, have no other
// sense than as an answer in blocks: many tools print objects with a content of theirs.
func meantAsBlocks(members map[string]gjson.Result) bool {
	content, ok := members["content"]
	if !ok {
		return false
	}
	if isString(content.Get("0.type")) {
		return true
	}
	for name := range members {
		if name != "content" && name != "is_error" {
			return false
		}
	}
	return true
}

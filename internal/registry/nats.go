package registry

import (
	"fmt"

	toolnats "toolhand/internal/tools/nats"
)

// natsConfig reads handler.nats. All of it may be left out.
func (m *manifest) natsConfig(n *node) (cfg toolnats.Config, ok bool) {
	before := len(m.list)
	if !m.mapping(n, "handler.nats", "{ subject: toolhand.tool.NAME }, or {}") {
		return cfg, false
	}
	m.known(n, "handler.nats")
	cfg.Subject = m.optional(n, "subject", "handler.nats.subject")
	if queue := n.get("queue"); queue != nil {
		if queue.kind != kindBool {
			m.at(queue, "handler.nats.queue: expected true or false, found %s", queue.describe())
		}
		cfg.Queue = queue.text == "true"
	}
	if subject := n.get("subject"); subject != nil && cfg.Queue {
		m.warnings = append(m.warnings, fmt.Sprintf("%s:%d:%d: handler.nats.subject has no effect where queue is true: jobs are on toolhand.jobs.NAME", m.problems.file, subject.line, subject.column))
	}
	return cfg, len(m.list) == before
}

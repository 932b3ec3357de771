package registry

import "toolhand/internal/tools"

// natsConfig reads handler.nats. All of it may be left out.
func (m *manifest) natsConfig(n *node) (cfg tools.NATSConfig, ok bool) {
	before := len(m.list)
	if !m.mapping(n, "handler.nats", "{ subject: toolhand.tool.NAME }, or {}") {
		return cfg, false
	}
	m.known(n, "handler.nats")
	cfg.Subject = m.optional(n, "subject", "handler.nats.subject")
	if queue := n.get("queue"); queue != nil {
		switch {
		case queue.kind != kindBool:
			m.at(queue, "handler.nats.queue: expected true or false, found %s", queue.describe())
		case queue.text == "true":
			m.at(queue, "handler.nats.queue: this version has no job queue: expected false, which asks and waits for the reply")
		}
	}
	return cfg, len(m.list) == before
}

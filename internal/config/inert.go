package config

// Inert has the keys that are set to something else than their default and
// have no effect in this version, in the order of the file's documentation. The
// command logs each once.
func Inert(c *Config) []string {
	def := Default()
	var keys []string
	for _, k := range []struct {
		key      string
		got, std any
	}{
		{"sessions.discover.agent_ids", len(c.Sessions.Discover.AgentIDs), 0},
		{"sessions.discover.interval", c.Sessions.Discover.Interval, def.Sessions.Discover.Interval},
		{"sessions.webhook", c.Sessions.Webhook, def.Sessions.Webhook},
	} {
		if k.got != k.std {
			keys = append(keys, k.key)
		}
	}
	return keys
}

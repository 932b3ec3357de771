package sim

import (
	"encoding/json"
	"net/http"
	"time"
)

// Tool is a custom tool in an agent's definition.
type Tool struct {
	Name        string `json:"name" yaml:"name"`
	Description string `json:"description" yaml:"description"`
	// InputSchema is a JSON Schema whose type is object. Empty means an object
	// of any kind.
	InputSchema json.RawMessage `json:"input_schema" yaml:"input_schema"`
}

// AgentSpec defines an agent.
type AgentSpec struct {
	ID   string `yaml:"id"`
	Name string `yaml:"name"`
	// Model is the model's name. Empty means claude-opus-4-5.
	Model string `yaml:"model"`
	// System is the system prompt.
	System string `yaml:"system"`
	Tools  []Tool `yaml:"tools"`
}

// agent is one version of an agent, immutable.
type agent struct {
	spec    AgentSpec
	tools   json.RawMessage // array
	version int
	created time.Time
	updated time.Time
}

// Agent defines an agent, or gives it a new version. Sessions keep the version
// that they were made with.
func (s *Server) Agent(spec AgentSpec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agents[spec.ID] = newAgent(spec, s.agents[spec.ID])
}

func newAgent(spec AgentSpec, old *agent) *agent {
	if spec.Model == "" {
		spec.Model = "claude-opus-4-5"
	}
	if spec.Name == "" {
		spec.Name = spec.ID
	}
	var tools []json.RawMessage
	for _, t := range spec.Tools {
		if len(t.InputSchema) == 0 {
			t.InputSchema = json.RawMessage(`{"type": "object"}`)
		}
		tools = append(tools, object("type", "custom", "name", t.Name,
			"description", t.Description, "input_schema", t.InputSchema))
	}
	now := time.Now()
	a := &agent{spec: spec, tools: list(tools), version: 1, created: now, updated: now}
	if old != nil {
		a.version, a.created = old.version+1, old.created
	}
	return a
}

// pairs are the fields that an agent and a session's agent have in common.
func (a *agent) pairs() []any {
	none := json.RawMessage("[]")
	return []any{
		"type", "agent", "id", a.spec.ID, "version", a.version, "name", a.spec.Name,
		"description", nil, "model", object("id", a.spec.Model), "system", a.spec.System,
		"tools", a.tools, "mcp_servers", none, "skills", none, "multiagent", nil,
		"execution_identity", object("type", "service_account"),
	}
}

func (a *agent) resource() json.RawMessage {
	return object(append(a.pairs(), "metadata", struct{}{},
		"created_at", a.created, "updated_at", a.updated, "archived_at", nil)...)
}

func (s *Server) serveAgent(q *Request) (json.RawMessage, *apiError) {
	if err := checkQuery(q.Query); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.agents[q.Agent]
	if a == nil {
		return nil, refuse(http.StatusNotFound, "agent %s was not found", q.Agent)
	}
	return a.resource(), nil
}

// serveAgentUpdate takes a new version of an agent: name, system and custom
// tools. Other fields are refused: the simulation could not honour them.
func (s *Server) serveAgentUpdate(q *Request) (json.RawMessage, *apiError) {
	fields, problem := members("", q.Body, shape{
		"version": optional(isInteger), "name": optional(isText), "system": optional(nullable(isString)),
		"tools": optional(nullable(arrayOf(customTool))),
	})
	if problem != "" {
		return nil, refuse(http.StatusBadRequest, "%s", problem)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.agents[q.Agent]
	if old == nil {
		return nil, refuse(http.StatusNotFound, "agent %s was not found", q.Agent)
	}
	spec := old.spec
	var version *int
	for name, target := range map[string]any{
		"version": &version, "name": &spec.Name, "system": &spec.System, "tools": &spec.Tools,
	} {
		if name == "tools" && fields[name] != nil {
			spec.Tools = nil
		}
		if fields[name] != nil && json.Unmarshal(fields[name], target) != nil {
			return nil, refuse(http.StatusBadRequest, "%s: out of range", name)
		}
	}
	if version != nil && *version != old.version {
		return nil, refuse(http.StatusConflict, "version: the agent is at version %d", old.version)
	}
	a := newAgent(spec, old)
	s.agents[q.Agent] = a
	return a.resource(), nil
}

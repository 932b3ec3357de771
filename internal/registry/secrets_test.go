package registry

import (
	"strings"
	"testing"
)

// TestSecretsAreNotShown: what is told of a broken manifest repeats nothing that may be a
// secret.
func TestSecretsAreNotShown(t *testing.T) {
	for _, handler := range []string{
		`http: { url: "http://h", headers: "Authorization: Bearer hunter2" }`, `http: { url: "http://h", headers: { X-Pin: 4711 } }`,
		`http: "http://u:hunter2@h/"`, `http: { url: "htp://u:hunter2@h/" }`, `http: { url: "http://h", header_env: { Authorization: "Bearer hunter2" } }`,
		`exec: { command: "curl -H 'Authorization: hunter2'" }`, `exec: { command: [x], env: "TOKEN=hunter2" }`, `exec: { command: [x], env: { PIN: 4711 } }`,
		`exec: { command: [x], pass_env: ["TOKEN=hunter2"] }`, `mcp: "http://u:hunter2@h/"`, `mcp: { url: "u:hunter2@h" }`, `exec: { command: [x, 4711] }`,
	} {
		dir := write(t, map[string]string{"a.yaml": "name: a\ndescription: d\ninput_schema: { type: object }\nhandler: { " + handler + " }\n"})
		_, err := Load(Options{Dir: dir})
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "4711") {
			t.Errorf("%s: %v", handler, err)
		}
	}
	_, err := Load(Options{Dir: write(t, map[string]string{"a.yaml": "name: a\ndescription: d\ninput_schema: { type: object }\nhandler: \"http://u:hunter2@h\"\n"})})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("handler: %v", err)
	}
}

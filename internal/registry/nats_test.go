package registry

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"toolhand/internal/tools"
)

// TestNATSManifests: a nats tool loads without a server, and says when it is
// called what is missing; the connection is asked for anew by each call.
func TestNATSManifests(t *testing.T) {
	dir := write(t, map[string]string{
		"a.yaml": "name: a\ndescription: d\ninput_schema: {type: object}\nhandler: {nats: {}}\n",
		"b.yaml": "name: b\ndescription: d\ninput_schema: {type: object}\nhandler: {nats: {subject: team.b, queue: false}}\n",
	})
	asked := 0
	for why, conn := range map[string]func() (*nats.Conn, error){
		"no connection to NATS": nil,
		"set nats.url":          func() (*nats.Conn, error) { asked++; return nil, errors.New("set nats.url") },
	} {
		set, err := Load(Options{Dir: dir, Dependencies: Dependencies{NATS: conn}})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "b"} {
			tool, ok := set.Lookup(name)
			if !ok || tool.Kind != "nats" {
				t.Fatalf("%s = %+v", name, tool)
			}
			if err := tool.Validate(t.Context(), json.RawMessage(`{}`)); err != nil || tool.Description != "d" {
				t.Errorf("%s: %v, description %q", name, err, tool.Description)
			}
			_, err := tool.Handler.Call(t.Context(), tools.Call{ID: "sevt_1", Tool: name, Input: json.RawMessage(`{}`)})
			var nobody *tools.UnavailableError
			if !errors.As(err, &nobody) || nobody.Passing || !strings.Contains(err.Error(), why) {
				t.Errorf("%s: %v, expected %q", name, err, why)
			}
		}
	}
	if asked != 2 {
		t.Errorf("the connection was asked for %d times by two calls", asked)
	}
}

package schema

import (
	"context"
	"flag"
	"testing"

	"go.uber.org/goleak"

	"toolhand/internal/document"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	// The clock of time-outs ends by itself a while after its last use.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/dlclark/regexp2.runClock"))
}

// tested is the schema of a tool called x.
type tested struct{ schema *Schema }

func mustTool(t testing.TB, text string) *tested {
	t.Helper()
	tool, err := compiled(text, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return tool
}

func compiled(text string, o Options) (*tested, error) {
	ps := &document.Problems{File: "x"}
	n := document.ParseJSON(ps, []byte(text))
	if n == nil {
		return nil, ps.Err()
	}
	return &tested{Compile(ps, n, "", o)}, ps.Err()
}

func (t *tested) Validate(input []byte) error {
	return t.ValidateContext(context.Background(), input)
}

func (t *tested) ValidateContext(ctx context.Context, input []byte) error {
	return t.schema.Validate(ctx, "x", input)
}

package registry

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"toolhand/internal/tools"
	toolexec "toolhand/internal/tools/exec"
	toolhttp "toolhand/internal/tools/http"
)

func TestMain(m *testing.M) {
	if os.Getenv(noisyEnv) != "" {
		noisy()
		return
	}
	goleak.VerifyTestMain(m)
}

// echo answers with the input, and keeps what it was made with.
type echo struct {
	exec   toolexec.Config
	http   toolhttp.Config
	common tools.Common
}

func (e *echo) Call(_ context.Context, call tools.Call) (tools.Result, error) {
	text, err := json.Marshal([]map[string]string{{"type": "text", "text": string(call.Input)}})
	return tools.Result{Content: text}, err
}

// with is the format with other constructors for kinds that it has.
func (f *format) with(kinds ...handlerKind) *format {
	other := *f
	other.kinds = slices.Clone(f.kinds)
	for _, k := range kinds {
		other.kinds[slices.IndexFunc(f.kinds, func(old handlerKind) bool { return old.name == k.name })] = k
	}
	return &other
}

// recorded has constructors that take anything but a command called broken.
func recorded() *format {
	return standard().with(
		kindOf("exec", func(cfg toolexec.Config, common tools.Common) (tools.Handler, error) {
			if cfg.Command[0] == "./broken" {
				return nil, errors.New("the program ./broken is not there")
			}
			return &echo{exec: cfg, common: common}, nil
		}),
		kindOf("http", func(cfg toolhttp.Config, common tools.Common) (tools.Handler, error) {
			return &echo{http: cfg, common: common}, nil
		}),
	)
}

// write puts files into a new folder.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		put(t, dir, name, text)
	}
	return dir
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

package tools_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"toolhand/internal/tools"
	"toolhand/internal/tools/handlertest"
)

func TestExecConforms(t *testing.T) {
	each(t, func(t *testing.T, procs *tools.Processes) {
		handlertest.Run(t, tools.Common{Name: "exec_tool", Dir: t.TempDir()}, handlertest.Peer{
			New: func(t *testing.T, common tools.Common, b handlertest.Behaviour) tools.Handler {
				self, err := os.Executable()
				if err != nil {
					t.Fatal(err)
				}
				common.Name = "exec_tool"
				h, err := tools.NewExec(tools.ExecConfig{Command: []string{self, childArg, "serve", string(b)}, Env: quickExit()}, common, procs)
				if err != nil {
					t.Fatal(err)
				}
				return h
			},
			Unreachable: func(t *testing.T, common tools.Common) tools.Handler {
				program := filepath.Join(t.TempDir(), "program")
				if err := os.WriteFile(program, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
					t.Fatal(err)
				}
				h, err := tools.NewExec(tools.ExecConfig{Command: []string{program}}, common, procs)
				if err != nil {
					t.Fatal(err)
				}
				return h
			},
			Stop: 3 * time.Second,
		})
	})
}

func TestHTTPConforms(t *testing.T) {
	handlertest.Run(t, tools.Common{Name: "http_tool"}, handlertest.Peer{
		New: func(t *testing.T, common tools.Common, b handlertest.Behaviour) tools.Handler {
			server := httptest.NewServer(peer(b))
			t.Cleanup(server.Close)
			return newHTTP(t, tools.HTTPConfig{URL: server.URL}, common)
		},
		Unreachable: func(t *testing.T, common tools.Common) tools.Handler {
			server := httptest.NewServer(nil)
			server.Close()
			return newHTTP(t, tools.HTTPConfig{URL: server.URL}, common)
		},
		Loses: true,
	})
}

func newHTTP(t *testing.T, cfg tools.HTTPConfig, common tools.Common) tools.Handler {
	t.Helper()
	h, err := tools.NewHTTP(cfg, common)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// peer is the other end of http handlers.
func peer(b handlertest.Behaviour) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		about := handlertest.About{
			Tool:     r.Header.Get("Tool-Name"),
			ID:       r.Header.Get("Tool-Use-Id"),
			Session:  r.Header.Get("Session-Id"),
			Thread:   r.Header.Get("Session-Thread-Id"),
			Deadline: r.Header.Get("Tool-Deadline"),
		}
		switch b {
		case handlertest.Lose:
			panic(http.ErrAbortHandler)
		case handlertest.Fail:
			var text bytes.Buffer
			err := handlertest.Serve(r.Context(), b, about, r.Body, &text, 0)
			if errors.Is(err, handlertest.ErrFailed) {
				http.Error(w, text.String(), http.StatusInternalServerError)
			}
		case handlertest.Silent, handlertest.Trickle:
			// The server notices that the client is gone once the body is read.
			_, _ = new(bytes.Buffer).ReadFrom(r.Body)
			fallthrough
		default:
			if err := handlertest.Serve(r.Context(), b, about, r.Body, w, 0); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
	})
}

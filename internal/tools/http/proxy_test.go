package http_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"toolhand/internal/tools"
	"toolhand/internal/tools/handlertest"
	toolhttp "toolhand/internal/tools/http"
)

// proxied posts a call to url and prints what comes of it. Go reads the proxies
// of the environment once a process, hence a process of its own.
func proxied(url string) int {
	h, err := toolhttp.New(toolhttp.Config{URL: url}, tools.Common{Name: "proxied"})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := h.Call(ctx, tools.Call{ID: "sevt_1", Tool: "proxied", Session: "sesn_1", Input: []byte(`{}`), Deadline: time.Now().Add(time.Minute)})
	fmt.Printf("%s %v %T\n", r.Content, err, err)
	return 0
}

func TestProxyOfTheEnvironment(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "proxied ", r.Method, " ", r.URL)
	}))
	defer proxy.Close()
	for given, want := range map[string]string{
		proxy.URL:                         "proxied POST http://tool.invalid/x?token=t1",
		"http://user:pass word@127.0.0.1": "*tools.UnavailableError",
		"http://user:pass@127.0.0.1:1":    "*tools.UnavailableError",
	} {
		cmd := exec.Command(os.Args[0], handlertest.ChildArg, "proxied", "http://tool.invalid/x?token=t1")
		cmd.Env = []string{"HTTP_PROXY=" + given, "GORACE=atexit_sleep_ms=0"}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("with %s: %v: %s", given, err, out)
		}
		handlertest.NoneOf(t, string(out), "user", "pass")
	}
}

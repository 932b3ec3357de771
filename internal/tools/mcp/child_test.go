package mcp_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// rawMCP is an MCP server that is played without the SDK, so that it can do
// what it must not. Each line that it reads is written to the file too, if one is
// named.
func rawMCP(mode, file string) int {
	out := os.Stdout
	var writing sync.Mutex // a tool may answer later
	say := func(format string, args ...any) {
		writing.Lock()
		defer writing.Unlock()
		fmt.Fprintf(out, format+"\n", args...)
	}
	note := func(string) {}
	if file != "" {
		f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return 1
		}
		note = func(line string) { fmt.Fprintln(f, line) }
	}
	note(fmt.Sprintf("pid %d", os.Getpid()))
	switch mode {
	case "silent":
		time.Sleep(time.Minute)
	case "down":
		fmt.Fprintln(os.Stderr, "it is down today")
		return 3
	case "slow start":
		fmt.Fprintln(os.Stderr, "downloading "+os.Getenv("MINE"))
		time.Sleep(1500 * time.Millisecond)
	case "bom":
		fmt.Fprint(out, "\ufeff")
	case "deathless":
		signal.Ignore(syscall.SIGTERM)
	case "stray":
		say("Listening on port 3000")
		say("{not json")
		say("")
		say(`{"jsonrpc":"1.0","x":[1,2]}`)
		fmt.Fprintln(os.Stderr, "hello on stderr")
	case "flood":
		for {
			if _, err := out.WriteString(strings.Repeat("x", 64<<10)); err != nil {
				return 1
			}
		}
	}
	lists := 0
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 32<<20)
	for lines.Scan() {
		note(lines.Text())
		var m struct {
			ID     json.RawMessage
			Method string
			Params struct {
				Name, Cursor string
				Meta         struct {
					Token json.RawMessage `json:"progressToken"`
				} `json:"_meta"`
			}
		}
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			return 2
		}
		if mode == "strings" && m.ID != nil {
			m.ID = json.RawMessage(strconv.Quote(string(m.ID)))
		}
		switch m.Method {
		case "server/discover":
			say(`{"jsonrpc":"2.0","id":%s,"result":{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}}`, m.ID)
		case "initialize":
			if mode == "modern" {
				say(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no such method"}}`, m.ID)
				continue
			}
			if result := os.Getenv("INITIALIZE"); result != "" {
				say(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
				continue
			}
			say(`{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"raw","version":"1"}}}`, m.ID)
		case "notifications/initialized":
			if mode == "deaf" {
				time.Sleep(time.Minute)
			}
		case "tools/list":
			if mode == "restless" {
				say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
			}
			if pages := os.Getenv("PAGES"); pages != "" {
				say(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, rawPage(pages, m.Params.Cursor))
				continue
			}
			schema := `{"type":"object"}`
			if mode == "changing" { // each list is another one
				lists++
				schema = fmt.Sprintf(`{"type":"object","title":"%d"}`, lists)
				say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
			}
			say(`{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"one","description":"The first.","inputSchema":%s}]}}`, m.ID, schema)
		case "tools/call":
			if code := rawCall(mode, m.Params.Name, m.ID, m.Params.Meta.Token, say); code >= 0 {
				return code
			}
		}
	}
	if mode == "deathless" {
		time.Sleep(time.Minute)
	}
	return 0
}

// rawPage is a page of a list of tools, from a JSON object of pages by their cursors. In
// the page for any other cursor, the name of the tool and the next cursor are made of it.
func rawPage(pages, cursor string) string {
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(pages), &all); err != nil {
		return err.Error()
	}
	if page, ok := all[cursor]; ok {
		return string(page)
	}
	return strings.ReplaceAll(string(all["*"]), "N", cursor+"x")
}

// rawCall does what a mode does with a call; it returns a status to end with, or
// less than zero.
func rawCall(mode, tool string, id, token json.RawMessage, say func(string, ...any)) int {
	text := fmt.Sprintf("%s by %d", tool, os.Getpid())
	switch {
	case tool == "hang":
		return -1
	case tool == "die" || mode == "die":
		fmt.Fprintln(os.Stderr, "the token was hush-hush")
		return 7
	case tool == "work": // until there is a file
		for _, err := os.Stat(os.Getenv("DONE")); err != nil; _, err = os.Stat(os.Getenv("DONE")) {
			time.Sleep(5 * time.Millisecond)
		}
	case tool == "later":
		time.AfterFunc(1500*time.Millisecond, func() {
			say(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"later"}]}}`, id)
		})
		return -1
	case tool == "huge last":
		say(`{"result":{"content":[{"type":"text","text":"%s"}]},"jsonrpc":"2.0","id":%s}`, strings.Repeat("x", 20<<20), id)
		return -1
	case tool == "huge note":
		say(`{"method":"notifications/message","params":{"data":"%s"},"jsonrpc":"2.0"}`, strings.Repeat("x", 20<<20))
	case tool == "huge":
		say(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"%s"}]}}`, id, strings.Repeat("x", 20<<20))
		return -1
	case tool == "refuse":
		say(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"Unknown tool: refuse","data":{"why":"it is not there"}}}`, id)
		return -1
	case tool == "blurt":
		say(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32000,"message":"bad key: %s"}}`, id, os.Getenv("KEY"))
		return -1
	case tool == "blurt and die":
		fmt.Fprintln(os.Stderr, "starting with the key "+os.Getenv("KEY"))
		fmt.Fprintln(os.Stderr, "bad key")
		return 4
	case tool == "garbage":
		say(`{"jsonrpc":"2.0","id":%s,"result":[1,2]}`, id)
		return -1
	case tool == "environ":
		text = strings.Join(os.Environ(), "\n")
	case tool == "progress":
		say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1,"total":2,"message":"half-way"}}`, token)
		say(`[{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"a word"}},{"jsonrpc":"2.0","id":77,"method":"ping"}]`)
	}
	encoded, err := json.Marshal(text)
	if err != nil {
		return 1
	}
	say(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":%s}]}}`, id, encoded)
	return -1
}

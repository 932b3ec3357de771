package main

import (
	"strings"
	"testing"
)

// queueTool is the manifest of a tool whose calls are jobs in the queue.
func queueTool(name, more string) string {
	return "name: " + name + "\ndescription: Be worked off elsewhere.\ninput_schema: {type: object}\n" + more + "handler: {nats: {queue: true}}\n"
}

// TestQueueThroughListen: calls become jobs that a tools serve works off which
// comes by nats.listen; it finds the queue once the first call has made it.
func TestQueueThroughListen(t *testing.T) {
	t.Parallel()
	dir, listen := t.TempDir(), freeAddress(t)
	lay(t, dir, map[string]string{
		"tools.d/note.yaml":       queueTool("note", "deadline: 20s\n"),
		"tools.d/fail.yaml":       queueTool("fail", ""),
		"worker.yaml":             "admin: {listen: ''}\nnats: {listen: '" + listen + "'}\n",
		"serve/tools.d/note.yaml": "name: note\ndescription: Note.\ninput_schema: {type: object}\nhandler: {exec: {command: [sh, -c, 'echo $TOOL_NAME $SESSION_ID; cat']}}\n",
		"serve/tools.d/fail.yaml": "name: fail\ndescription: Fail.\ninput_schema: {type: object, required: [x]}\nhandler: {exec: {command: [sh, -c, 'cat; exit 3']}}\n",
		"serve/worker.yaml":       "admin: {listen: ''}\nnats: {url: 'nats://" + listen + "'}\n",
	})
	session, url := simulated(t, "sesn_queue")
	startIn(t, dir, "run", workerEnv(dir, "ANTHROPIC_API_KEY=any", "ANTHROPIC_BASE_URL="+url), "worker", "run", "--session", "sesn_queue")
	startIn(t, dir+"/serve", "serve", workerEnv(dir), "worker", "tools", "serve", "--queue")
	if got := answered(t, session, "note", `{"n":1}`); got != "note sesn_queue\n{\"n\":1}" {
		t.Errorf("note: %q", got)
	}
	if got := answered(t, session, "fail", `{"x":1}`); !strings.Contains(got, `{"x":1}`) || !strings.Contains(got, "3") {
		t.Errorf("fail: %q", got)
	}
	if got := answered(t, session, "fail", `{}`); !strings.HasPrefix(got, `Invalid input for tool "fail":`) {
		t.Errorf("fail without x: %q", got)
	}
}

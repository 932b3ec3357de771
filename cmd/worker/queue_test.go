package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"toolhand/internal/testkit"
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
	run := startIn(t, dir, "run", workerEnv(dir, "ANTHROPIC_API_KEY=any", "ANTHROPIC_BASE_URL="+url), "worker", "run", "--session", "sesn_queue")
	if _, err := run.until(until(`"worker started"`)); err != nil { // else nobody says that it is a nats.listen
		t.Fatal(err)
	}
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
	if log, err := os.ReadFile(filepath.Join(dir, "run.log")); err != nil || strings.Contains(string(log), "default inbox") {
		t.Errorf("tools serve has the default inbox: %v\n%s", err, log)
	} else if !strings.Contains(string(log), "nats.listen has no token: everybody on this machine can serve tools; set nats.token_file") {
		t.Errorf("there is no warning of a listen without a token:\n%s", log)
	}
}

// A worker that is killed while its jobs run, or wait, gets their results when it is
// back, and does not say that their outcome is unknown: until the deadline that each
// call had from the first one. Nothing runs twice.
func TestQueueWorkerRestarted(t *testing.T) {
	t.Parallel()
	port := freePorts(t, 1)[0]
	url := fmt.Sprintf("nats://127.0.0.1:%d", port)
	l := newLoad(t, 3, map[string]string{
		"worker.yaml":        "+nats: {url: '" + url + "'}\n",
		"tools.d/pay.yaml":   queueTool("pay", "deadline: 60s\n"),
		"tools.d/stuck.yaml": queueTool("stuck", "deadline: 8s\n"),
		"tools.d/later.yaml": queueTool("later", "deadline: 60s\n"),
	})
	launchNATS(t, l.dir, "nats", fmt.Sprintf("listen: '127.0.0.1:%d'\njetstream { store_dir: '%s' }\n", port, filepath.Join(l.dir, "nats")))
	serves := func(names ...string) {
		t.Helper()
		o := &load{dir: t.TempDir()}
		o.write(t, "worker.yaml", "admin: {listen: ''}\nnats: {url: '"+url+"'}\n")
		for _, name := range names {
			text := strings.ReplaceAll("#!/bin/sh\necho $TOOL_USE_ID >> DIR/tools.d/ran.$TOOL_NAME\nuntil [ -e DIR/open.$TOOL_NAME ]; do sleep 0.05; done\necho done\n", "DIR", l.dir)
			o.write(t, "tools.d/wait.sh", text)
			o.write(t, "tools.d/"+name+".yaml", "name: "+name+"\ndescription: Wait.\ninput_schema: {type: object}\nhandler: {exec: {command: [./wait.sh]}}\n")
		}
		r := startIn(t, o.dir, "serve", workerEnv(o.dir), "worker", "tools", "serve", "--queue")
		if _, err := r.until(until(`"serving tools"`)); err != nil {
			t.Fatal(err)
		}
	}
	serves("pay", "stuck")
	w := l.launch(t, "worker")
	isReady(t, w, 200)
	if !strings.Contains(w.text(), "takes smaller messages than the largest result") {
		t.Errorf("a server of 1 MiB a message is not warned about:\n%s", w.text())
	}
	begun := time.Now()
	ids := map[string]string{}
	for i, tool := range []string{"pay", "stuck", "later"} {
		ids[tool] = l.call(l.all[i], tool)
		l.all[i].RequireAction()
	}
	testkit.Eventually(t, "two run", func() bool {
		notes, err := filepath.Glob(filepath.Join(l.dir, "tools.d", "ran.*"))
		return err == nil && len(notes) == 2
	})
	entries(t, w, 3)
	w.kill()
	w = l.launch(t, "worker2")
	isReady(t, w, 200)
	l.write(t, "open.pay", "")
	l.write(t, "open.later", "")
	serves("later")
	l.answered(t, w, patience)
	for i, want := range map[int]string{0: "done", 1: `Tool "stuck" did not finish within its deadline of 8s`, 2: "done"} {
		tool := []string{"pay", "stuck", "later"}[i]
		if r, _ := l.all[i].Result(ids[tool]); !strings.HasPrefix(r.Text(), want) {
			t.Errorf("%s: %q, want %q", tool, r.Text(), want)
		}
	}
	if took := time.Since(begun); took < 8*time.Second {
		t.Errorf("the deadline was over after %s", took)
	}
	for tool, id := range ids {
		if n := l.ran(t)[id]; n != 1 {
			t.Errorf("%s ran %d times", tool, n)
		}
	}
}

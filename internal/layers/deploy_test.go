package layers

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"toolhand/internal/config"
)

// instructions are the lines of the Dockerfile, continued ones joined.
func instructions(t *testing.T) [][]string {
	t.Helper()
	var all [][]string
	text := strings.ReplaceAll(read(t, "Dockerfile"), "\\\n", " ")
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 0 && !strings.HasPrefix(words[0], "#") {
			all = append(all, words)
		}
	}
	return all
}

// TestDockerfile checks what can be checked without an engine.
func TestDockerfile(t *testing.T) {
	goVersion := regexp.MustCompile(`(?m)^go (1\.\d+)`).FindStringSubmatch(read(t, "go.mod"))[1]
	ignore := strings.Fields(read(t, ".dockerignore"))
	stages := map[string]bool{}
	copied := map[string]bool{}
	last := map[string]string{}
	for _, words := range instructions(t) {
		rest := strings.Join(words[1:], " ")
		last[words[0]] = rest
		switch words[0] {
		case "FROM":
			if image, ok := strings.CutPrefix(words[1], "golang:"); ok && image != goVersion {
				t.Errorf("FROM golang:%s, but go.mod says %s", image, goVersion)
			}
			if len(words) == 4 && words[2] == "AS" {
				stages[words[3]] = true
			}
		case "COPY":
			checkCopy(t, words[1:], ignore, stages)
			for _, source := range words[1:] {
				copied[strings.TrimPrefix(source, "./")] = true
			}
		case "ENTRYPOINT", "CMD":
			var list []string
			if err := json.Unmarshal([]byte(rest), &list); err != nil {
				t.Errorf("%s %s is no list, so that a shell would stand between signals and the worker: %v", words[0], rest, err)
			}
		}
	}
	for _, need := range needed(t) {
		if !copied[need] {
			t.Errorf("cmd/worker is built of %s, which no COPY brings", need)
		}
	}
	for key, want := range map[string]string{
		"ENTRYPOINT": `["/usr/bin/worker"]`, "CMD": `["run"]`, "STOPSIGNAL": "SIGTERM", "VOLUME": "/var/lib/toolhand",
	} {
		if last[key] != want {
			t.Errorf("%s is %q, want %q", key, last[key], want)
		}
	}
	if user, _, _ := strings.Cut(last["USER"], ":"); user == "" || user == "0" || user == "root" {
		t.Errorf("the last USER is %q, want another than root, by number", last["USER"])
	}
}

// needed are the files and folders at the root that the binary is built of.
func needed(t *testing.T) []string {
	t.Helper()
	out := run(t, nil, "list", "-deps", "-f",
		`{{if and .Module .Module.Main}}{{range .GoFiles}}{{$.ImportPath}}/{{.}} {{end}}{{range .EmbedFiles}}{{$.ImportPath}}/{{.}} {{end}}{{end}}`, "./cmd/worker")
	tops := map[string]bool{"go.mod": true, "go.sum": true}
	for _, path := range strings.Fields(string(out)) {
		top, _, _ := strings.Cut(strings.TrimPrefix(path, module+"/"), "/")
		tops[top] = true
	}
	return keys(tops)
}

func checkCopy(t *testing.T, words, ignore []string, stages map[string]bool) {
	t.Helper()
	sources := slices.DeleteFunc(slices.Clone(words[:len(words)-1]), func(w string) bool { return strings.HasPrefix(w, "--") })
	for _, w := range words {
		if from, ok := strings.CutPrefix(w, "--from="); ok {
			if !stages[from] {
				t.Errorf("COPY --from=%s: no such stage before it", from)
			}
			return
		}
	}
	for _, source := range sources {
		source = strings.TrimPrefix(source, "./")
		if _, err := os.Stat(filepath.Join(root, source)); err != nil {
			t.Errorf("COPY: %v", err)
		}
		if !slices.Contains(ignore, "!"+source) {
			t.Errorf("COPY %s: .dockerignore keeps it out", source)
		}
	}
}

// unit gives the settings of toolhand.service.
func unit(t *testing.T) map[string]string {
	t.Helper()
	settings := map[string]string{}
	for line := range strings.Lines(read(t, "deploy/systemd/toolhand.service")) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			settings[key] = value
		}
	}
	return settings
}

// TestUnitFitsItsConfiguration loads the example and compares it with the unit.
func TestUnitFitsItsConfiguration(t *testing.T) {
	cfg, err := config.Load(filepath.Join(root, "deploy/systemd/worker.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if inert := config.Inert(cfg); inert != nil {
		t.Errorf("the example sets keys without an effect: %v", inert)
	}
	u := unit(t)
	name, _, _ := strings.Cut(u["LoadCredential"], ":")
	if name != "api_key" || cfg.Upstream.APIKeyFile != "" {
		t.Errorf("the unit loads the credential %q and api_key_file is %q, want the worker to find api_key by itself", name, cfg.Upstream.APIKeyFile)
	}
	stop, err := time.ParseDuration(u["TimeoutStopSec"] + "s")
	if err != nil || stop < cfg.Shutdown.Grace.Std()+10*time.Second {
		t.Errorf("TimeoutStopSec is %q, want 10 s more than the grace of %v", u["TimeoutStopSec"], cfg.Shutdown.Grace)
	}
	for key, want := range map[string]string{
		"Type": "exec", "KillMode": "mixed", "Delegate": "yes", "StateDirectory": "toolhand", "Restart": "on-failure",
		"RestartPreventExitStatus": "2", "NoNewPrivileges": "yes",
	} {
		if u[key] != want {
			t.Errorf("%s is %q, want %q", key, u[key], want)
		}
	}
}

// TestUnitIsValid asks systemd itself where it is installed.
func TestUnitIsValid(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not installed: only our own checks of the unit ran")
		return
	}
	// The command and the user need not be on this machine.
	text := regexp.MustCompile(`(?m)^ExecStart=\S+`).ReplaceAllString(read(t, "deploy/systemd/toolhand.service"), "ExecStart=/bin/true")
	path := filepath.Join(t.TempDir(), "toolhand.service")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", "--generators=no", path).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "toolhand.service") {
			t.Errorf("systemd-analyze: %s", strings.TrimSpace(line))
		}
	}
	if err != nil {
		t.Logf("systemd-analyze ended with %v:\n%s", err, out)
	}
}

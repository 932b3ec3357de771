package config

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go/v2"
	"github.com/anthropics/anthropic-sdk-go/v2/option"
)

// credentialVars are all that the choice looks at, beside HOME.
var credentialVars = []string{
	"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE", "ANTHROPIC_CONFIG_DIR", "XDG_CONFIG_HOME", "CREDENTIALS_DIRECTORY",
	"ANTHROPIC_FEDERATION_RULE_ID", "ANTHROPIC_ORGANIZATION_ID", "ANTHROPIC_IDENTITY_TOKEN_FILE", "ANTHROPIC_IDENTITY_TOKEN",
}

// setenv makes vars the only credentials of the process's environment.
func setenv(t *testing.T, vars map[string]string) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	for _, name := range credentialVars {
		t.Setenv(name, "") // so that it is restored
		os.Unsetenv(name)
	}
	for name, value := range vars {
		t.Setenv(name, value)
	}
}

// keyFile writes content to a file with that mode.
func keyFile(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// profile makes a profile that the SDK can use without asking anybody.
func profile(t *testing.T, dir, name string) {
	t.Helper()
	for file, text := range map[string]string{
		"configs/" + name + ".json":     `{"authentication":{"type":"user_oauth"}}`,
		"credentials/" + name + ".json": `{"version":"1.0","type":"oauth_token","access_token":"profile-token"}`,
	} {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFindCredential(t *testing.T) {
	dir := t.TempDir()
	profile(t, dir, "default")
	profile(t, dir, "work")
	file := keyFile(t, "file-key\n", 0o600)
	creds := t.TempDir()
	if err := os.WriteFile(filepath.Join(creds, "api_key"), []byte("systemd-key\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	fed := map[string]string{
		"ANTHROPIC_FEDERATION_RULE_ID": "r", "ANTHROPIC_ORGANIZATION_ID": "o", "ANTHROPIC_IDENTITY_TOKEN": "t",
		"ANTHROPIC_CONFIG_DIR": dir,
	}
	for _, tt := range []struct {
		name, file string
		env        map[string]string
		kind       CredentialKind
		secret     string
	}{
		{"a key", "", map[string]string{"ANTHROPIC_API_KEY": "k"}, KindAPIKey, "k"},
		{"a token", "", map[string]string{"ANTHROPIC_AUTH_TOKEN": "t"}, KindAuthToken, "t"},
		{"a key before a token", file, map[string]string{"ANTHROPIC_API_KEY": "k", "ANTHROPIC_AUTH_TOKEN": "t"}, KindAPIKey, "k"},
		{"an empty key is none", file, map[string]string{"ANTHROPIC_API_KEY": "", "ANTHROPIC_AUTH_TOKEN": "t"}, KindAuthToken, "t"},
		{"a named profile before the file", file, map[string]string{"ANTHROPIC_CONFIG_DIR": dir, "ANTHROPIC_PROFILE": "work"}, KindSDK, ""},
		{"a federation before the file", file, fed, KindSDK, ""},
		{"the file before the active profile", file, map[string]string{"ANTHROPIC_CONFIG_DIR": dir}, KindAPIKey, "file-key"},
		{"systemd's credential before the active profile", "", map[string]string{"ANTHROPIC_CONFIG_DIR": dir, "CREDENTIALS_DIRECTORY": creds}, KindAPIKey, "systemd-key"},
		{"the file before systemd's credential", file, map[string]string{"CREDENTIALS_DIRECTORY": creds}, KindAPIKey, "file-key"},
		{"no api_key among systemd's credentials", "", map[string]string{"ANTHROPIC_CONFIG_DIR": dir, "CREDENTIALS_DIRECTORY": dir}, KindSDK, ""},
		{"the active profile", "", map[string]string{"ANTHROPIC_CONFIG_DIR": dir}, KindSDK, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			setenv(t, tt.env)
			got, err := FindCredential(&Config{Upstream: Upstream{APIKeyFile: tt.file}}, os.LookupEnv)
			if err != nil || got.Kind != tt.kind || got.Secret() != tt.secret {
				t.Errorf("got kind %d, secret %q, error %v; want kind %d, secret %q", got.Kind, got.Secret(), err, tt.kind, tt.secret)
			}
		})
	}
}

// TestChoiceIsTheSDKs sends a request with the SDK as it is by default, and
// looks whether it takes from the environment what we would.
func TestChoiceIsTheSDKs(t *testing.T) {
	dir := t.TempDir()
	profile(t, dir, "default")
	profile(t, dir, "work")
	for name, env := range map[string]map[string]string{
		"key":            {"ANTHROPIC_API_KEY": "k"},
		"token":          {"ANTHROPIC_AUTH_TOKEN": "t"},
		"both":           {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_AUTH_TOKEN": "t"},
		"named profile":  {"ANTHROPIC_CONFIG_DIR": dir, "ANTHROPIC_PROFILE": "work"},
		"active profile": {"ANTHROPIC_CONFIG_DIR": dir},
		"no profile":     {"ANTHROPIC_CONFIG_DIR": t.TempDir()},
		"lost profile":   {"ANTHROPIC_CONFIG_DIR": dir, "ANTHROPIC_PROFILE": "lost"},
		"empty profile":  {"ANTHROPIC_CONFIG_DIR": dir, "ANTHROPIC_PROFILE": ""},
		"part":           {"ANTHROPIC_ORGANIZATION_ID": "o"},
		"nothing":        {},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t, env)
			var sent []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				sent = append(r.Header.Values("X-Api-Key"), r.Header.Values("Authorization")...)
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, `{"data":[],"has_more":false}`)
			}))
			defer server.Close()
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			client := anthropic.NewClient(option.WithBaseURL(server.URL), option.WithMaxRetries(0),
				option.WithHTTPClient(&http.Client{Transport: transport}))
			_, sdkErr := client.Models.List(context.Background(), anthropic.ModelListParams{})

			got, err := FindCredential(&Config{}, os.LookupEnv)
			var want []string
			switch got.Kind {
			case KindAPIKey, KindAuthToken:
				want = []string{"Bearer " + got.Secret()}
			case KindSDK:
				want = []string{"Bearer profile-token"}
			}
			if fmt.Sprint(sent) != fmt.Sprint(want) {
				t.Errorf("the SDK sends %q, we would send %q", sent, want)
			}
			if (err == nil) != (sdkErr == nil) {
				t.Errorf("the SDK says %v, we say %v", sdkErr, err)
			}
		})
	}
}

func TestNoCredential(t *testing.T) {
	setenv(t, map[string]string{"ANTHROPIC_ORGANIZATION_ID": "o"})
	_, err := FindCredential(&Config{}, os.LookupEnv)
	var none *NoCredentialError
	if !errors.As(err, &none) {
		t.Fatalf("got %v, want a *NoCredentialError", err)
	}
	for _, part := range []string{"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE", "upstream.api_key_file", "ant auth login",
		"set in part, missing: ANTHROPIC_FEDERATION_RULE_ID, ANTHROPIC_IDENTITY_TOKEN_FILE"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the message has no %q:\n%v", part, err)
		}
	}
}

// TestCredentialHidesItsSecret is invariant 7 for every way of printing.
func TestCredentialHidesItsSecret(t *testing.T) {
	c := Credential{Kind: KindAPIKey, Source: "ANTHROPIC_API_KEY", secret: "hunter2"}
	var b strings.Builder
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "c", c, "p", &c, "in", struct{ C Credential }{c})
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "c", c, "p", &c, "in", struct{ C Credential }{c})
	fmt.Fprintf(&b, "%v %+v %#v %s %q %x %v %+v %#v", c, c, c, c, c, c, &c, struct{ C Credential }{c}, struct{ C Credential }{c})
	if err := json.NewEncoder(&b).Encode(map[string]any{"c": c, "p": &c}); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"hunter2", fmt.Sprintf("%x", "hunter2")} {
		if strings.Contains(b.String(), form) {
			t.Errorf("the secret is shown as %s:\n%s", form, b.String())
		}
	}
	if !strings.Contains(b.String(), "credential from ANTHROPIC_API_KEY") {
		t.Errorf("the source is not shown:\n%s", b.String())
	}
}

func TestReadKeyFile(t *testing.T) {
	for _, tt := range []struct {
		name, content string
		mode          os.FileMode
		want, wrong   string
	}{
		{"plain", "hunter2", 0o600, "hunter2", ""},
		{"with a newline", "hunter2\r\n", 0o400, "hunter2", ""},
		{"as systemd gives it", " hunter2\n\n", 0o440, "hunter2", ""},
		{"read by all", "hunter2", 0o644, "", "others can read or change it (mode 0644), expected 0600: run chmod 600 "},
		{"written by all", "hunter2", 0o602, "", "others can read or change it (mode 0602)"},
		{"written by its group", "hunter2", 0o620, "", "others can read or change it (mode 0620)"},
		{"empty", " \n", 0o600, "", "is empty, expected a key on one line"},
		{"two lines", "hunter2\nhunter2", 0o600, "", "has more than a key in it"},
		{"no ASCII", "hünter2", 0o600, "", "has more than a key in it"},
		{"huge", strings.Repeat("hunter2", maxKeyFile), 0o600, "", "has more than 65536 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := keyFile(t, tt.content, tt.mode)
			got, err := ReadKeyFile(path)
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.wrong == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.wrong) || !strings.Contains(err.Error(), path) {
				t.Fatalf("got %v, want %q and the path", err, tt.wrong)
			}
			if strings.Contains(err.Error(), "unter2") {
				t.Errorf("the content is shown: %v", err)
			}
		})
	}
	if _, err := ReadKeyFile(t.TempDir()); err == nil {
		t.Error("a directory is taken")
	}
	if _, err := ReadKeyFile(filepath.Join(t.TempDir(), "gone")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file gives %v", err)
	}
}

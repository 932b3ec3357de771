package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// CredentialKind is how a credential is shown to the API.
type CredentialKind int

const (
	// KindAPIKey is an API key. The SDK sends it as a bearer token.
	KindAPIKey CredentialKind = iota + 1
	// KindAuthToken is an OAuth access token, sent as a bearer token.
	KindAuthToken
	// KindSDK is a profile or a federation: the official SDK finds it by
	// itself, exchanges it for a token and renews that.
	KindSDK
)

// Credential is the one credential that goes on the wire. Printing, logging and
// marshalling it show where it is from, never what it is. The zero value is
// none.
type Credential struct {
	// Kind is how it is shown to the API. For KindAPIKey and KindAuthToken the
	// SDK's own environment defaults must be off, or it may send a second one.
	Kind CredentialKind
	// Source says where it is from, for people: a variable or a file.
	Source string

	secret string
}

// Secret is the key or the token. It is empty for KindSDK.
func (c Credential) Secret() string { return c.secret }

// String says where the credential is from.
func (c Credential) String() string {
	if c.Kind == 0 {
		return "no credential"
	}
	return "credential from " + c.Source
}

// GoString keeps the secret from %#v.
func (c Credential) GoString() string { return c.String() }

// LogValue keeps the secret from logs.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText keeps the secret from JSON and the like.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// NoCredentialError says that no credential was found, and where one may stand.
type NoCredentialError struct {
	// Hints are what was found on the way and did not suffice.
	Hints []string
}

// Error lists the places, in the order in which they are looked at.
func (e *NoCredentialError) Error() string {
	var b strings.Builder
	b.WriteString(`no credential for the API; one may stand in (the first is used):
  ANTHROPIC_API_KEY: an API key
  ANTHROPIC_AUTH_TOKEN: a bearer token
  ANTHROPIC_PROFILE: the name of a profile of the Anthropic tools
  ANTHROPIC_FEDERATION_RULE_ID, ANTHROPIC_ORGANIZATION_ID and ANTHROPIC_IDENTITY_TOKEN_FILE (or ANTHROPIC_IDENTITY_TOKEN): workload identity
  upstream.api_key_file in worker.yaml: a file that holds an API key
  $CREDENTIALS_DIRECTORY/api_key: a credential of systemd (LoadCredential=api_key:FILE)
  the active profile of the Anthropic tools (ant auth login)`)
	for _, hint := range e.Hints {
		b.WriteString("\n" + hint)
	}
	return b.String()
}

// FindCredential chooses the one credential that is used: the environment's, as
// the official SDK reads it (a key before a token, then a named profile, then a
// federation), else that of upstream.api_key_file, else systemd's credential
// api_key, else the SDK's fallback, the active profile of this user. The files
// stand before the last, since what this worker was given comes before what
// happens to lie in a home directory. It may be called again, to read them anew.
func FindCredential(c *Config, lookupEnv func(string) (string, bool)) (Credential, error) {
	env := func(name string) string {
		value, _ := lookupEnv(name)
		return value
	}
	if key := env("ANTHROPIC_API_KEY"); key != "" {
		return Credential{Kind: KindAPIKey, Source: "ANTHROPIC_API_KEY", secret: key}, nil
	}
	if tok := env("ANTHROPIC_AUTH_TOKEN"); tok != "" {
		return Credential{Kind: KindAuthToken, Source: "ANTHROPIC_AUTH_TOKEN", secret: tok}, nil
	}
	if profile := env("ANTHROPIC_PROFILE"); profile != "" {
		file := profileFile(lookupEnv, profile)
		if _, err := os.Stat(file); err != nil {
			return Credential{}, fmt.Errorf("ANTHROPIC_PROFILE names the profile %q: %w", profile, err)
		}
		return Credential{Kind: KindSDK, Source: "profile " + file + " (ANTHROPIC_PROFILE)"}, nil
	}
	missing, some := federation(lookupEnv)
	if len(missing) == 0 {
		return Credential{Kind: KindSDK, Source: "workload identity (ANTHROPIC_FEDERATION_RULE_ID)"}, nil
	}
	keyFile := c.Upstream.APIKeyFile
	if keyFile == "" {
		keyFile = systemdKey(env("CREDENTIALS_DIRECTORY"))
	}
	if keyFile != "" {
		key, err := ReadKeyFile(keyFile)
		if err != nil {
			return Credential{}, err
		}
		return Credential{Kind: KindAPIKey, Source: keyFile, secret: key}, nil
	}
	file, err := activeProfile(lookupEnv)
	if err == nil {
		return Credential{Kind: KindSDK, Source: "profile " + file}, nil
	}
	none := &NoCredentialError{}
	if some {
		none.Hints = append(none.Hints, "workload identity is set in part, missing: "+strings.Join(missing, ", "))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		none.Hints = append(none.Hints, "the active profile can't be used: "+err.Error())
	}
	return Credential{}, none
}

// systemdKey gives the file of the credential api_key in the folder that systemd
// made for this unit (systemd.exec, "Credentials"); empty where there is none.
func systemdKey(dir string) string {
	if dir == "" {
		return ""
	}
	file := filepath.Join(dir, "api_key")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return file
}

// federation gives the variables that workload identity lacks, and whether any
// is set. As in the SDK, the ids count as set when they are empty.
func federation(lookupEnv func(string) (string, bool)) (missing []string, some bool) {
	for _, name := range []string{"ANTHROPIC_FEDERATION_RULE_ID", "ANTHROPIC_ORGANIZATION_ID"} {
		if _, ok := lookupEnv(name); ok {
			some = true
		} else {
			missing = append(missing, name)
		}
	}
	file, _ := lookupEnv("ANTHROPIC_IDENTITY_TOKEN_FILE")
	literal, _ := lookupEnv("ANTHROPIC_IDENTITY_TOKEN")
	if file != "" || literal != "" {
		some = true
	} else {
		missing = append(missing, "ANTHROPIC_IDENTITY_TOKEN_FILE (or ANTHROPIC_IDENTITY_TOKEN)")
	}
	return missing, some
}

// profileDir is where the SDK looks for profiles; empty where it has no place.
func profileDir(lookupEnv func(string) (string, bool)) string {
	if dir, ok := lookupEnv("ANTHROPIC_CONFIG_DIR"); ok {
		return dir
	}
	if dir, _ := lookupEnv("XDG_CONFIG_HOME"); dir != "" {
		return filepath.Join(dir, "anthropic")
	}
	if home, _ := lookupEnv("HOME"); home != "" {
		return filepath.Join(home, ".config", "anthropic")
	}
	return ""
}

func profileFile(lookupEnv func(string) (string, bool), profile string) string {
	return filepath.Join(profileDir(lookupEnv), "configs", profile+".json")
}

// activeProfile gives the file of the profile that the SDK falls back to.
func activeProfile(lookupEnv func(string) (string, bool)) (string, error) {
	dir := profileDir(lookupEnv)
	if _, named := lookupEnv("ANTHROPIC_PROFILE"); named || dir == "" {
		// The SDK takes a variable that is set and empty for a profile
		// without a name, and finds none.
		return "", fs.ErrNotExist
	}
	profile := "default"
	if data, err := os.ReadFile(filepath.Join(dir, "active_config")); err == nil {
		if name := strings.TrimSpace(string(data)); name != "" {
			profile = name
		}
	}
	file := profileFile(lookupEnv, profile)
	_, err := os.Stat(file)
	return file, err
}

package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTLSKeys: a certificate comes with its key, and what is exposed without is told.
func TestTLSKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "worker.yaml")
	for text, want := range map[string]string{
		"nats: {tls_cert_file: c}":                  "nats.tls_cert_file: expected nats.tls_key_file too",
		"admin: {tls_key_file: c}":                  "admin.tls_key_file: expected admin.tls_cert_file too",
		"nats: {tls_cert_file: c, tls_key_file: k}": "",
	} {
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(file); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", text, err)
		}
	}
	const (
		noToken  = "nats.listen has no token: everybody on this machine can serve tools; set nats.token_file"
		natsTLS  = "nats.listen is not loopback and has no TLS: the token, inputs and results can be read on the way; set nats.tls_cert_file and nats.tls_key_file"
		adminTLS = "admin.listen is not loopback and has no TLS: the token can be read on the way; set admin.tls_cert_file and admin.tls_key_file"
	)
	for _, one := range []struct {
		nats  NATS
		admin Admin
		want  []string
	}{
		{NATS{}, Admin{Listen: "127.0.0.1:1"}, nil},
		{NATS{Listen: "127.0.0.1:1"}, Admin{}, []string{noToken}},
		{NATS{Listen: "localhost:1", TLSCertFile: "c"}, Admin{}, []string{noToken}},
		{NATS{Listen: "127.0.0.1:1", TokenFile: "t"}, Admin{}, nil},
		{NATS{Listen: "0.0.0.0:1", TokenFile: "t"}, Admin{Listen: "0.0.0.0:1"}, []string{natsTLS, adminTLS}},
		{NATS{Listen: ":1", TokenFile: "t"}, Admin{Listen: "worker.example.org:1", TokenFile: "t"}, []string{natsTLS, adminTLS}},
		{NATS{Listen: "0.0.0.0:1", TokenFile: "t", TLSCertFile: "c"}, Admin{Listen: "0.0.0.0:1", TLSCertFile: "c"}, nil},
	} {
		if got := Exposed(&Config{NATS: one.nats, Admin: one.admin}); !slices.Equal(got, one.want) {
			t.Errorf("%+v %+v: %q, want %q", one.nats, one.admin, got, one.want)
		}
	}
}

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTLSKeys: a certificate comes with its key, and what is exposed without is told.
func TestTLSKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "worker.yaml")
	for text, want := range map[string]string{
		"nats: {tls_cert_file: c}":                  "nats.tls_cert_file: is set, expected nats.tls_key_file too",
		"admin: {tls_key_file: c}":                  "admin.tls_key_file: is set, expected admin.tls_cert_file too",
		"nats: {tls_cert_file: c, tls_key_file: k}": "",
	} {
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(file); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, one := range []struct {
		nats  NATS
		admin Admin
		want  int
	}{
		{NATS{}, Admin{Listen: "127.0.0.1:1"}, 0},
		{NATS{Listen: "127.0.0.1:1"}, Admin{}, 1},
		{NATS{Listen: "127.0.0.1:1", TokenFile: "t"}, Admin{}, 0},
		{NATS{Listen: "0.0.0.0:1", TokenFile: "t"}, Admin{Listen: "0.0.0.0:1"}, 2},
		{NATS{Listen: "0.0.0.0:1", TokenFile: "t", TLSCertFile: "c"}, Admin{Listen: "0.0.0.0:1", TLSCertFile: "c"}, 0},
	} {
		if got := Exposed(&Config{NATS: one.nats, Admin: one.admin}); len(got) != one.want {
			t.Errorf("%+v %+v: %q", one.nats, one.admin, got)
		}
	}
}

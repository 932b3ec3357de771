package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"toolhand/internal/bus"
)

// TestServeWarnsOfExposure: tools serve says of its admin address what run says.
func TestServeWarnsOfExposure(t *testing.T) {
	t.Parallel()
	b, err := bus.Open(t.Context(), bus.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(context.WithoutCancel(t.Context()))
	dir := t.TempDir()
	lay(t, dir, map[string]string{
		"tools.d/note.yaml": "name: note\ndescription: Note.\ninput_schema: {type: object}\nhandler: {exec: {command: [cat]}}\n",
		"worker.yaml":       "admin: {listen: '0.0.0.0:0', token_file: token}\nnats: {url: 'nats://" + b.Listening() + "'}\n",
	})
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := startIn(t, dir, "serve", workerEnv(dir), "worker", "tools", "serve")
	if _, err := r.until(until("admin.listen is not loopback and has no TLS: the token can be read on the way; set admin.tls_cert_file and admin.tls_key_file")); err != nil {
		t.Error(err)
	}
}

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"toolhand/internal/admin"
	"toolhand/internal/bus"
	"toolhand/internal/config"
)

// certificate writes a certificate for 127.0.0.1 and its key.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// TestStatusByTLS: the admin address answers by TLS, and status finds it there with
// and without a scheme.
func TestStatusByTLS(t *testing.T) {
	certFile, keyFile := certificate(t)
	cert, err := serverTLS("admin", certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	page, err := admin.Listen("127.0.0.1:0", "", slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	page.TLS(cert)
	go page.Serve(t.Context())
	addr := page.Addr().String()
	for _, name := range []string{addr, "https://" + addr, "https://" + addr + "/"} {
		if body, err := askAdmin(t.Context(), name, "/api/v1/status", config.Admin{TLSCertFile: certFile}); err != nil || !strings.HasPrefix(string(body), "{") {
			t.Errorf("%s: %s, %v", name, body, err)
		}
	}
	if _, err := askAdmin(t.Context(), "https://"+addr, "/api/v1/status", config.Admin{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody trusts: %v", err)
	}
	if _, err := askAdmin(t.Context(), "http://"+addr, "/api/v1/status", config.Admin{}); err == nil {
		t.Error("it answers without TLS")
	}
	if _, err := serverTLS("admin", keyFile, keyFile); err == nil || !strings.Contains(err.Error(), "admin.tls_cert_file") {
		t.Errorf("no certificate: %v", err)
	}
}

// TestListenByTLS: nats.listen wants TLS, of our own commands too.
func TestListenByTLS(t *testing.T) {
	certFile, keyFile := certificate(t)
	cert, err := serverTLS("nats", certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bus.Open(t.Context(), bus.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", ListenTLS: cert})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	if nc, err := nats.Connect("nats://"+b.Listening(), nats.Secure(&tls.Config{RootCAs: x509.NewCertPool()})); err == nil {
		nc.Close()
		t.Error("a certificate that nobody trusts is taken")
	}
	link := &natsLink{cfg: config.NATS{Listen: b.Listening(), TLSCertFile: certFile}}
	defer link.close()
	nc, err := link.conn()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.TLSConnectionState(); err != nil {
		t.Error(err)
	}
	if inbox := nc.NewInbox(); !strings.HasPrefix(inbox, "_INBOX_") {
		t.Errorf("the inbox is %s", inbox)
	}
}

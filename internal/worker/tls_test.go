package worker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
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
	dir := t.TempDir()
	return writeCertificate(t, dir, 1, x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
}

// writeCertificate writes one with a serial number, signed by itself, into dir.
func writeCertificate(t *testing.T, dir string, serial int64, template x509.Certificate) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(serial), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// adminByTLS is an admin address that answers by TLS.
func adminByTLS(t *testing.T, certFile, keyFile string, log *slog.Logger) (addr string) {
	t.Helper()
	cert, err := ServerTLS("admin", certFile, keyFile, log)
	if err != nil {
		t.Fatal(err)
	}
	page, err := admin.Listen("127.0.0.1:0", "", log)
	if err != nil {
		t.Fatal(err)
	}
	page.TLS(cert)
	go page.Serve(t.Context())
	return page.Addr().String()
}

// TestStatusByTLS: the admin address answers by TLS, and status finds it there with
// and without a scheme.
func TestStatusByTLS(t *testing.T) {
	certFile, keyFile := certificate(t)
	addr := adminByTLS(t, certFile, keyFile, slog.New(slog.DiscardHandler))
	for _, name := range []string{addr, "https://" + addr, "https://" + addr + "/"} {
		if body, err := Ask(t.Context(), name, "GET", "/api/v1/status", "", AskTimeout, config.Admin{TLSCertFile: certFile}); err != nil || !strings.HasPrefix(string(body.Body), "{") {
			t.Errorf("%s: %v, %v", name, body, err)
		}
	}
	if _, err := Ask(t.Context(), "https://"+addr, "GET", "/api/v1/status", "", AskTimeout, config.Admin{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody trusts: %v", err)
	}
	if _, err := Ask(t.Context(), "http://"+addr, "GET", "/api/v1/status", "", AskTimeout, config.Admin{}); err == nil {
		t.Error("it answers without TLS")
	}
	if _, err := ServerTLS("admin", keyFile, keyFile, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "admin.tls_cert_file") {
		t.Errorf("no certificate: %v", err)
	}
}

// TestStatusOfAHostname: the certificate of the configuration is trusted at the
// addresses of this machine, whatever its names are, and no other one is.
func TestStatusOfAHostname(t *testing.T) {
	for name, template := range map[string]x509.Certificate{
		"a name":     {DNSNames: []string{"worker.example.org"}},
		"a wildcard": {DNSNames: []string{"*.example.org"}},
		"an address": {IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}},
	} {
		t.Run(name, func(t *testing.T) {
			certFile, keyFile := writeCertificate(t, t.TempDir(), 1, template)
			addr := adminByTLS(t, certFile, keyFile, slog.New(slog.DiscardHandler))
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				t.Fatal(err)
			}
			for _, listen := range []string{addr, ":" + port, "0.0.0.0:" + port, "localhost:" + port, "https://" + addr} {
				if body, err := Ask(t.Context(), listen, "GET", "/api/v1/status", "", AskTimeout, config.Admin{Listen: listen, TLSCertFile: certFile}); err != nil || !strings.HasPrefix(string(body.Body), "{") {
					t.Errorf("%s: %v, %v", listen, body, err)
				}
			}
			theirs, _ := writeCertificate(t, t.TempDir(), 1, template) // the same names, another key
			var unknown *tls.CertificateVerificationError
			if _, err := Ask(t.Context(), addr, "GET", "/api/v1/status", "", AskTimeout, config.Admin{Listen: addr, TLSCertFile: theirs}); !errors.As(err, &unknown) {
				t.Errorf("another certificate of the same name: %v", err)
			}
			if _, err := Ask(t.Context(), addr, "GET", "/api/v1/status", "", AskTimeout, config.Admin{Listen: addr, TLSCertFile: keyFile}); err == nil || !strings.Contains(err.Error(), "admin.tls_cert_file") {
				t.Errorf("no certificate: %v", err)
			}
		})
	}
}

// TestAdminOfAnotherHost: the name in the address counts where it is another machine's.
func TestAdminOfAnotherHost(t *testing.T) {
	certFile, _ := certificate(t)
	for addr, own := range map[string]bool{"127.0.0.1:1": true, "worker.example.org:1": false, "https://192.0.2.1:1": false, "192.0.2.2:1": true} {
		_, client, err := adminClient(addr, config.Admin{Listen: "192.0.2.2:1", TLSCertFile: certFile})
		if err != nil {
			t.Fatal(err)
		}
		trust := client.Transport.(*http.Transport).TLSClientConfig
		if (trust.ServerName != "") != own || trust.InsecureSkipVerify {
			t.Errorf("%s: the name that counts is %q", addr, trust.ServerName)
		}
	}
}

// TestRenewedCertificate: what is in the files is shown from the next connection on, at
// the admin address and at nats.listen; what can't be used changes nothing, with one
// warning.
func TestRenewedCertificate(t *testing.T) {
	dir := t.TempDir()
	template := x509.Certificate{DNSNames: []string{"worker.example.org"}}
	certFile, keyFile := writeCertificate(t, dir, 1, template)
	var text strings.Builder
	log := slog.New(slog.NewTextHandler(&text, nil))
	addr := adminByTLS(t, certFile, keyFile, slog.New(slog.DiscardHandler))
	listen, err := ServerTLS("nats", certFile, keyFile, log)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bus.Open(t.Context(), bus.Options{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", ListenTLS: listen})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(context.WithoutCancel(t.Context()))
	shows := func(want int64) {
		t.Helper()
		var shown []*x509.Certificate
		note := &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
			shown = append(shown, s.PeerCertificates[0])
			return nil
		}}
		conn, err := tls.Dial("tcp", addr, note)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		nc, err := nats.Connect("nats://"+b.Listening(), nats.Secure(note))
		if err != nil {
			t.Fatal(err)
		}
		nc.Close()
		for i, cert := range shown {
			if cert.SerialNumber.Int64() != want {
				t.Errorf("address %d shows certificate %d, want %d", i, cert.SerialNumber, want)
			}
		}
	}
	shows(1)
	fresh := t.TempDir()
	writeCertificate(t, fresh, 2, template)
	renew := func(name string) {
		t.Helper()
		if err := os.Rename(filepath.Join(fresh, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	renew("cert.pem") // its key is not there yet
	shows(1)
	shows(1)
	if n := strings.Count(text.String(), "a new certificate can't be used: the last one stays in force"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, text.String())
	}
	renew("key.pem")
	shows(2)
	if _, err := Ask(t.Context(), addr, "GET", "/api/v1/status", "", AskTimeout, config.Admin{Listen: addr, TLSCertFile: certFile}); err != nil {
		t.Error(err)
	}
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	shows(2)
}

// TestListenByTLS: nats.listen wants TLS, of our own commands too.
func TestListenByTLS(t *testing.T) {
	certFile, keyFile := writeCertificate(t, t.TempDir(), 1, x509.Certificate{DNSNames: []string{"worker.example.org"}})
	cert, err := ServerTLS("nats", certFile, keyFile, slog.New(slog.DiscardHandler))
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
	l := &link{cfg: config.NATS{Listen: b.Listening(), TLSCertFile: certFile}}
	defer l.close()
	nc, err := l.conn()
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

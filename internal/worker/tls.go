package worker

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
)

// ServerTLS is TLS with the certificate in certFile and its key in keyFile, of the
// configuration's section; nil without. Each new connection gets what is in the files
// then. Files that can't be used leave the last certificate in force, with a warning.
func ServerTLS(section, certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	if certFile == "" {
		return nil, nil
	}
	read := stamp(certFile, keyFile) // before the files are: no change is missed
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, Usagef("%s.tls_cert_file, %[1]s.tls_key_file: %w", section, err)
	}
	var mu sync.Mutex
	unusable := ""
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		if now := stamp(certFile, keyFile); now != read && now != unusable {
			fresh, err := tls.LoadX509KeyPair(certFile, keyFile)
			if err == nil {
				pair, read, unusable = fresh, now, ""
			} else {
				unusable = now
				log.Warn("a new certificate can't be used: the last one stays in force", "file", certFile, "error", err)
			}
		}
		shown := pair
		return &shown, nil
	}}, nil
}

// stamp is another text when one of the files is another one.
func stamp(files ...string) string {
	var b strings.Builder
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			b.WriteString("none ")
			continue
		}
		fmt.Fprint(&b, info.ModTime().UnixNano(), " ", info.Size(), " ")
	}
	return b.String()
}

// ownTLS is TLS of a client of our own address, whose certificate is in certFile: what is
// in that file is trusted and nothing else, for a name that the certificate has, since the
// address that is dialed may not be in it.
func ownTLS(certFile string) (*tls.Config, error) {
	data, err := os.ReadFile(certFile)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	for block != nil && block.Type != "CERTIFICATE" {
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("there is no certificate in " + certFile)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(data)
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: nameOf(cert)}, nil
}

// nameOf is a name that a certificate is for; empty: it is for none.
func nameOf(cert *x509.Certificate) string {
	if len(cert.DNSNames) > 0 {
		return strings.Replace(cert.DNSNames[0], "*", "any", 1)
	}
	if len(cert.IPAddresses) > 0 {
		return cert.IPAddresses[0].String()
	}
	return ""
}

// otherTLS is TLS of a client of an address that may be another worker's: the system's
// roots are trusted, and what is in certFile where it can be read.
func otherTLS(certFile string) *tls.Config {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if data, err := os.ReadFile(certFile); err == nil {
		roots.AppendCertsFromPEM(data)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
}

// dialed is where a client on this machine reaches what listens at host.
func dialed(host string) string {
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "127.0.0.1"
	}
	return host
}

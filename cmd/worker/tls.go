package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// renewEvery is how often a certificate's file is looked at for another one.
const renewEvery = time.Minute

// serverTLS is TLS with the certificate in certFile and its key in keyFile, of the
// configuration's section; nil without. A certificate that was renewed beside us is
// taken, and one that can't be read leaves the old one in force.
func serverTLS(section, certFile, keyFile string) (*tls.Config, error) {
	if certFile == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s.tls_cert_file, %[1]s.tls_key_file: %w", section, err)}
	}
	var mu sync.Mutex
	read := time.Now()
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(read) > renewEvery {
			read = time.Now()
			if fresh, err := tls.LoadX509KeyPair(certFile, keyFile); err == nil {
				pair = fresh
			}
		}
		shown := pair
		return &shown, nil
	}}, nil
}

// trusting is TLS of a client that trusts, besides the system's roots, the certificate
// in certFile; nil without: the system's roots.
func trusting(certFile string) *tls.Config {
	data, err := os.ReadFile(certFile)
	if certFile == "" || err != nil {
		return nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	roots.AppendCertsFromPEM(data)
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
}

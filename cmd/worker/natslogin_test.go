package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"toolhand/internal/testkit"
)

// keys makes a key pair of NATS.
func keys(t *testing.T, create func() (nkeys.KeyPair, error)) (pair nkeys.KeyPair, public string) {
	t.Helper()
	pair, err := create()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	return pair, public
}

// account makes an account that the operator vouches for.
func account(t *testing.T, operator nkeys.KeyPair, jetStream bool) (pair nkeys.KeyPair, public, token string) {
	t.Helper()
	pair, public = keys(t, nkeys.CreateAccount)
	claims := jwt.NewAccountClaims(public)
	if jetStream {
		claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	}
	token, err := claims.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	return pair, public, token
}

// credentials are those of a new user of an account, as `nsc` writes them, and its
// seed.
func credentials(t *testing.T, account nkeys.KeyPair) (file, seed string) {
	t.Helper()
	user, public := keys(t, nkeys.CreateUser)
	token, err := jwt.NewUserClaims(public).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(token, secret)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), string(secret)
}

// endsAtStart waits until the worker has given up, and returns what it printed.
func endsAtStart(t *testing.T, r *running) string {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(time.Minute): // its own bound is half of that
		t.Fatalf("a worker that can't connect goes on:\n%s", tail(r.text()))
	}
	if code := r.cmd.ProcessState.ExitCode(); code != exitFailure {
		t.Errorf("exit code %d, want %d", code, exitFailure)
	}
	return r.text()
}

// serves makes one call and waits for its result.
func (l *load) serves(t *testing.T, r *running) {
	t.Helper()
	isReady(t, r, 200)
	l.call(l.all[0], "pay")
	l.all[0].RequireAction()
	l.answered(t, r, time.Minute)
	if v := l.judge(t); v.done != v.calls {
		t.Errorf("%+v", v)
	}
	entries(t, r, 0)
}

// TestNATSCredentials shows a .creds file to a server whose accounts are signed by
// an operator.
func TestNATSCredentials(t *testing.T) {
	t.Parallel()
	operator, operatorID := keys(t, nkeys.CreateOperator)
	operatorToken, err := jwt.NewOperatorClaims(operatorID).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	_, systemID, systemToken := account(t, operator, false)
	ours, oursID, oursToken := account(t, operator, true)
	stranger, _, _ := account(t, operator, true) // the server does not know it
	good, seed := credentials(t, ours)
	bad, badSeed := credentials(t, stranger)
	port := freePorts(t, 1)[0]
	l := newLoad(t, 1, map[string]string{
		"worker.yaml": fmt.Sprintf("+nats: {url: 'nats://127.0.0.1:%d', credentials_file: nats.creds}\n", port), "nats.creds": bad,
	})
	launchNATS(t, l.dir, "nats", fmt.Sprintf("listen: '127.0.0.1:%d'\njetstream { store_dir: '%s' }\noperator: %s\nsystem_account: %s\n"+
		"resolver: MEMORY\nresolver_preload: {\n%s: %s\n%s: %s\n}\n",
		port, filepath.Join(l.dir, "nats"), operatorToken, systemID, systemID, systemToken, oursID, oursToken))
	text := endsAtStart(t, l.launch(t, "refused"))
	if !strings.Contains(text, "Authorization Violation") || !strings.Contains(text, "nats.url") {
		t.Errorf("it does not say why: %s", text)
	}
	l.write(t, "nats.creds", good)
	r := l.launch(t, "run")
	l.serves(t, r)
	for _, s := range []string{seed, badSeed} {
		if strings.Contains(text+r.text(), s) {
			t.Error("invariant 7: a seed is in the log")
		}
	}
}

// TestNATSWithPrivateCA: the roots are those that every Go program takes.
func TestNATSWithPrivateCA(t *testing.T) {
	t.Parallel()
	port := freePorts(t, 1)[0]
	l := newLoad(t, 1, map[string]string{"worker.yaml": fmt.Sprintf("+nats: {url: 'tls://127.0.0.1:%d'}\n", port)})
	certificate, key := selfSigned(t)
	l.write(t, "cert.pem", certificate)
	l.write(t, "key.pem", key)
	launchNATS(t, l.dir, "nats", fmt.Sprintf("listen: '127.0.0.1:%d'\njetstream { store_dir: '%s' }\ntls { cert_file: '%s', key_file: '%s' }\n",
		port, filepath.Join(l.dir, "nats"), filepath.Join(l.dir, "cert.pem"), filepath.Join(l.dir, "key.pem")))
	untrusting := l.launch(t, "untrusting")
	l.env = append(l.env, "SSL_CERT_FILE="+filepath.Join(l.dir, "cert.pem"))
	l.serves(t, l.launch(t, "run"))
	if !testkit.Full() {
		return // it tries for half a minute
	}
	if text := endsAtStart(t, untrusting); !strings.Contains(text, "certificate") || !strings.Contains(text, "not ready within") {
		t.Errorf("it does not say why: %s", text)
	}
}

// selfSigned is a certificate for 127.0.0.1 and its key, in PEM.
func selfSigned(t *testing.T) (certificate, key string) {
	t.Helper()
	pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pair.Public(), pair)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

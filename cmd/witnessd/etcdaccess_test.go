package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const nodeText = `
node: w1
data: state
peers: {w1: 10.0.0.1:7400}
peer: {listen: 10.0.0.1:7400}
http: {listen: 10.0.0.1:8080}
`

func writeFile(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func hashOf(t *testing.T, password string) string {
	t.Helper()
	cmd := command()
	var out bytes.Buffer
	cmd.SetArgs([]string{"hash-password"})
	cmd.SetIn(strings.NewReader(password + "\n"))
	cmd.SetOut(&out)
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}

func TestAccessFile(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "w.yaml", []byte(nodeText+"etcd: {listen: 10.0.0.1:2379, auth: access.yaml}\n"))
	hash := hashOf(t, "secret")
	writeFile(t, dir, "access.yaml", []byte(`
secrets: [0123456789012345678901234567890123456789]
token_ttl: 10m
users:
  patroni:
    password: `+hash+`
    rules:
    - {prefix: /service/, allow: readwrite}
    - {prefix: "", allow: read}
  pg1: {rules: [{prefix: /service/demo/, allow: write}]}
  root: {admin: true, password: `+hash+`}
`))
	cfg, err := LoadConfig(filepath.Join(dir, "w.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	a := cfg.Etcd.access
	p := a.Users["patroni"]
	if len(a.Users) != 3 || a.TokenTTL != 10*time.Minute || !p.Rules[0].Read || !p.Rules[0].Write || p.Rules[1].Write || !a.Users["root"].Admin ||
		a.Users["pg1"].Rules[0].Read || !a.Users["pg1"].Rules[0].Write {
		t.Errorf("%+v", a)
	}
	if bcrypt.CompareHashAndPassword(p.PasswordHash, []byte("secret")) != nil {
		t.Error("the hash is not that of the password")
	}
}

func TestAccessFaultsAllAtOnce(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "w.yaml", []byte("peer: {listen: here}\netcd: {listen: 10.0.0.1:2379, advertise: 'http://a', auth: access.yaml, tls: {cert: no.pem, client_ca: no.pem, client_cert: perhaps}}\n"))
	writeFile(t, dir, "access.yaml", []byte(`
secrets: [short]
token_ttl: 1s
users:
  a: {password: plain}
  b: {rules: [{allow: all}]}
  c: {password: $2a$14$ajq8Q7fbtFRQvXpdCq7Jcuy.Rx1h/L4J60Otx.gyNLbAYctGMJ9tK, rules: [{prefix: x, allow: read}]}
`))
	_, err := LoadConfig(filepath.Join(dir, "w.yaml"))
	if err == nil {
		t.Fatal("files full of faults are taken")
	}
	for _, want := range []string{
		"node:", "peer.listen:", "etcd.advertise:", "etcd.tls.cert, key:", "etcd.tls.client_ca:", "etcd.tls.client_cert:", "secrets: number 1", "token_ttl:",
		"users.a.password: this is not a hash", "users.a: without rules", "users.b.rules[0].allow", "users.b.rules[0].prefix", "users.c.password: a cost of 14",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %q in:\n%v", want, err)
		}
	}
	writeFile(t, dir, "access.yaml", []byte("users: {}\nroles: {}\n"))
	if _, err := loadAccess(filepath.Join(dir, "access.yaml")); err == nil || !strings.Contains(err.Error(), "roles") {
		t.Error(err)
	}
}

// pemPair writes a self-signed certificate for a name.
func pemPair(t *testing.T, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	writeFile(t, dir, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

// A renewed certificate is used without a restart; half of one is not.
func TestCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	pemPair(t, dir, "first")
	writeFile(t, dir, "w.yaml", []byte(nodeText+"etcd: {listen: 10.0.0.1:2379, tls: {cert: cert.pem, key: key.pem, client_ca: cert.pem}}\n"))
	cfg, err := LoadConfig(filepath.Join(dir, "w.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Etcd.Advertise != "https://10.0.0.1:2379" || cfg.Etcd.tls.ClientAuth != tls.RequireAndVerifyClientCert {
		t.Errorf("%+v", cfg.Etcd)
	}
	name := func() string {
		pair, err := cfg.Etcd.tls.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.Subject.CommonName
	}
	stamp := func(offset time.Duration) {
		for _, f := range []string{"cert.pem", "key.pem"} {
			if at := time.Now().Add(offset); os.Chtimes(filepath.Join(dir, f), at, at) != nil {
				t.Fatal("chtimes")
			}
		}
	}
	if name() != "first" {
		t.Fatal(name())
	}
	old, err := os.ReadFile(filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pemPair(t, dir, "second")
	fresh, err := os.ReadFile(filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "key.pem", old)
	stamp(time.Minute)
	if name() != "first" {
		t.Error("a certificate without its key is in use")
	}
	writeFile(t, dir, "key.pem", fresh)
	stamp(2 * time.Minute)
	if name() != "second" {
		t.Error("the renewed certificate is not in use")
	}
}

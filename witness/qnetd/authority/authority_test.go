package authority

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAuthority(t *testing.T) {
	dir, now := filepath.Join(t.TempDir(), "ca"), time.Now()
	if _, err := Open(dir); !errors.Is(err, ErrNone) {
		t.Errorf("open nothing: %v", err)
	}
	ca, err := Create(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir, now); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create over one: %v", err)
	}
	if _, err := ca.Server(now); err != nil {
		t.Fatal(err)
	}
	if _, err := tls.LoadX509KeyPair(filepath.Join(dir, ServerCertFile), filepath.Join(dir, ServerKeyFile)); err != nil {
		t.Error(err)
	}
	_, request, err := NewKey("hacluster")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Sign(request, false, now)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("as a client's: %v", err)
	}
	_, other, _ := NewKey("hacluster")
	var taken *TakenError
	if _, err := ca.Sign(other, false, now); !errors.As(err, &taken) || taken.Cluster != "hacluster" {
		t.Errorf("another key for the name: %v", err)
	}
	if list, err := ca.List(); err != nil || len(list) != 3 || list[2].Cert.Subject.CommonName != "hacluster" {
		t.Errorf("%v, %v", list, err)
	}
}

func TestEnd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	made := time.Now().Add(-caLife + leafLife/2)
	ca, err := Create(dir, made)
	if err != nil {
		t.Fatal(err)
	}
	_, request, _ := NewKey("hacluster")
	cert, err := ca.Sign(request, false, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if cert.NotAfter.After(ca.Cert.NotAfter) {
		t.Errorf("%v outlives its authority, %v", cert.NotAfter, ca.Cert.NotAfter)
	}
	end := cert.NotAfter
	if why := Expiry(cert, end.Add(-Warning)); why != "" {
		t.Errorf("too early: %s", why)
	}
	if why := Expiry(cert, end.Add(-Warning+time.Second)); !strings.Contains(why, "in 89 days") {
		t.Errorf("90 days before: %s", why)
	}
	if why := Expiry(cert, end); !strings.Contains(why, "ended") {
		t.Errorf("at the end: %s", why)
	}
	if _, err := ca.Sign(request, false, end); err == nil {
		t.Error("an authority that has ended signs")
	}
}

func TestNotAnAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	ca, err := Create(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.issue("hacluster", nil, ca.key.Public(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, CertFile), encodeCert(leaf.Raw), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a cluster's certificate is taken for an authority's")
	}
	second := filepath.Join(t.TempDir(), "ca")
	if _, err := Create(second, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(second, CertFile), filepath.Join(dir, CertFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "belong together") {
		t.Errorf("the certificate of another authority: %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", "a/b", ".", "..", ".hidden", "a\x00b", Name, "Qnetd Server", strings.Repeat("x", 65)} {
		if _, _, err := NewKey(name); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
	for _, name := range []string{"a", "my cluster", "ha.cluster-1", strings.Repeat("x", 64)} {
		if _, _, err := NewKey(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	_, request, err := NewKey("hacluster")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request.Raw)
	f.Add([]byte("-----BEGIN NEW CERTIFICATE REQUEST-----\n-----END NEW CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if r, err := ParseRequest(raw); err == nil && checkName(r.Subject.CommonName) != nil {
			t.Errorf("%q", r.Subject.CommonName)
		}
	})
}

// A stock authority comes out of openssl, with words around the key.
func TestStockKeyForms(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	key := strings.TrimSpace(keyPEM(t))
	if err := os.WriteFile(path, []byte("Bag Attributes\n    friendlyName: QNet CA\n"+key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readKey(path); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readKey(path); err == nil {
		t.Error("nothing is read as a key")
	}
}

func keyPEM(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	if _, err := Create(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

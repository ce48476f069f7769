package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// witnessctl runs a command line in the current folder.
func witnessctl(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Run(context.Background(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func mustCtl(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := witnessctl(t, args...)
	if code != 0 {
		t.Fatalf("witnessctl %s: %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

func writeRequest(t *testing.T, file, cluster string, bits int) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: cluster}}, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, der, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestQdeviceCertificates(t *testing.T) {
	t.Chdir(t.TempDir())
	if code, _, errs := witnessctl(t, "qdevice", "list"); code != ExitError || !strings.Contains(errs, "witnessctl qdevice ca") {
		t.Errorf("without an authority: %d, %s", code, errs)
	}
	text := mustCtl(t, "qdevice", "ca")
	if again := mustCtl(t, "qdevice", "ca"); again != text {
		t.Error("the second call prints another authority")
	}
	for file, mode := range map[string]fs.FileMode{"quorate-ca": 0o700, "quorate-ca/ca.key": 0o600, "quorate-ca/server.key": 0o600} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want %v", file, info.Mode(), err, mode)
		}
	}
	block, _ := pem.Decode([]byte(text))
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}

	writeRequest(t, "node.crq", "hacluster", 2048)
	if code, _, errs := witnessctl(t, "qdevice", "sign", "node.crq", "--cluster", "other"); code != ExitError || !strings.Contains(errs, "nothing is signed") {
		t.Errorf("for another cluster: %d, %s", code, errs)
	}
	var signed certificate
	if err := json.Unmarshal([]byte(mustCtl(t, "qdevice", "sign", "node.crq", "-o", "json")), &signed); err != nil {
		t.Fatal(err)
	}
	der, err := os.ReadFile("cluster-hacluster.crt")
	if err != nil || signed.File != "cluster-hacluster.crt" || signed.Name != "hacluster" {
		t.Fatalf("%+v, %v", signed, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := leaf.CheckSignatureFrom(ca); err != nil || leaf.Subject.CommonName != "hacluster" || leaf.IsCA {
		t.Errorf("%v, %v", leaf.Subject, err)
	}
	mustCtl(t, "qdevice", "sign", "node.crq") // the same key again: a renewal

	writeRequest(t, "second.crq", "hacluster", 2048)
	if code, _, errs := witnessctl(t, "qdevice", "sign", "second.crq"); code != ExitError || !strings.Contains(errs, "--replace") {
		t.Errorf("a second cluster of one name: %d, %s", code, errs)
	}
	mustCtl(t, "qdevice", "sign", "second.crq", "--replace")

	mustCtl(t, "qdevice", "issue", "proxied")
	key, err := os.ReadFile("proxied.key")
	if err != nil {
		t.Fatal(err)
	}
	if code, _, _ := witnessctl(t, "qdevice", "issue", "proxied"); code != ExitError {
		t.Error("a key is replaced without --replace")
	}
	if now, _ := os.ReadFile("proxied.key"); !bytes.Equal(now, key) {
		t.Error("a refused command has changed the key")
	}
	mustCtl(t, "qdevice", "issue", "proxied", "--replace")

	list := mustCtl(t, "qdevice", "list")
	for _, name := range []string{"QNet CA", "Qnetd Server", "hacluster", "proxied"} {
		if !strings.Contains(list, name) {
			t.Errorf("%s is not in\n%s", name, list)
		}
	}
}

func TestQdeviceRefusals(t *testing.T) {
	t.Chdir(t.TempDir())
	mustCtl(t, "qdevice", "ca")
	writeRequest(t, "path.crq", "../ca", 2048)
	writeRequest(t, "server.crq", "Qnetd Server", 2048)
	writeRequest(t, "noname.crq", "", 2048)
	writeRequest(t, "ok.crq", "ok", 2048)
	raw, _ := os.ReadFile("ok.crq")
	raw[len(raw)-1] ^= 1
	_ = os.WriteFile("forged.crq", raw, 0o644)
	_ = os.WriteFile("junk.crq", []byte("junk"), 0o644)
	for _, file := range []string{"path.crq", "server.crq", "noname.crq", "forged.crq", "junk.crq", "none.crq"} {
		if code, out, errs := witnessctl(t, "qdevice", "sign", file); code != ExitError || out != "" || errs == "" {
			t.Errorf("%s: %d, %s%s", file, code, out, errs)
		}
	}
	if err := os.Chmod("quorate-ca/ca.key", 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := witnessctl(t, "qdevice", "sign", "ok.crq"); code != ExitError || !strings.Contains(errs, "chmod 600") {
		t.Errorf("with a key that all can read: %d, %s", code, errs)
	}
}

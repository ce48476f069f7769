package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quorate/witness"
	"quorate/witness/httpapi"
)

// cutOff is a witness without its quorum, until it has one.
type cutOff struct {
	*httpapi.Memory
	elected atomic.Bool
}

func (c *cutOff) Node() httpapi.NodeInfo {
	n := c.Memory.Node()
	n.Quorum = c.elected.Load()
	return n
}

func (c *cutOff) Barrier(ctx context.Context) error {
	if !c.elected.Load() {
		return witness.ErrNoQuorum
	}
	return c.Memory.Barrier(ctx)
}

// silent accepts connections and never answers.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return "http://" + l.Addr().String()
}

func refused(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(nil)
	s.Close()
	return s.URL
}

func TestEveryWitnessIsTried(t *testing.T) {
	w := newWorld(t)
	alone := httptest.NewServer(httpapi.New(httpapi.Options{Backend: &cutOff{Memory: w.mem}}))
	t.Cleanup(alone.Close)
	wrong := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(wrong.Close)
	for name, first := range map[string]string{"refused": refused(t), "silent": silent(t), "without a quorum": alone.URL, "no witness": wrong.URL} {
		code, out, errs := call(t, "action=off\nplug=pg2\nurl="+first+","+w.server.URL)
		if code != exitOK || !strings.HasPrefix(out, "db2: ") {
			t.Errorf("%s: code %d, %q, %q", name, code, out, errs)
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	code, _, errs := call(t, "action=off\nplug=pg2\ntimeout=1\nurl="+refused(t)+","+silent(t))
	if code != exitFail || !strings.Contains(errs, "no witness that has a quorum answers within the time limit") {
		t.Errorf("code %d: %s", code, errs)
	}
}

// Witnesses that elect a leader answer soon: the agent waits for it.
func TestWaitsForALeader(t *testing.T) {
	w := newWorld(t)
	alone := &cutOff{Memory: w.mem}
	asked := make(chan struct{}, 1)
	api := httpapi.New(httpapi.Options{Backend: alone})
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		api.ServeHTTP(rw, r)
		select {
		case asked <- struct{}{}:
		default:
		}
	}))
	t.Cleanup(server.Close)
	go func() {
		<-asked // and was turned away
		alone.elected.Store(true)
	}()
	if code, _, errs := call(t, "action=off\nplug=pg2\nurl="+server.URL); code != exitOK {
		t.Errorf("code %d: %s", code, errs)
	}
}

// pair makes a certificate for 127.0.0.1 that signs itself, as PEM files.
func pair(t *testing.T, name string) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(cert, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return cert, key, pool
}

func TestTLS(t *testing.T) {
	w := newWorld(t)
	serverCert, serverKey, _ := pair(t, "witness")
	cert, key, clients := pair(t, "cluster")
	loaded, err := tls.LoadX509KeyPair(serverCert, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(w.server.Config.Handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it is meant to turn clients away
	server.TLS = &tls.Config{Certificates: []tls.Certificate{loaded}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	server.StartTLS()
	t.Cleanup(server.Close)
	base := "action=list\ntimeout=2\nurl=" + server.URL
	if code, out, errs := call(t, base+"\nca_file="+serverCert+"\ncert_file="+cert+"\nkey_file="+key); code != exitOK || out == "" {
		t.Errorf("code %d, %q, %s", code, out, errs)
	}
	for name, options := range map[string]string{
		"nobody vouches for the witness": "\ncert_file=" + cert + "\nkey_file=" + key,
		"no certificate of ours":         "\nca_file=" + serverCert,
	} {
		if code, _, errs := call(t, base+options); code != exitFail || !strings.Contains(errs, "certificate") {
			t.Errorf("%s: code %d: %s", name, code, errs)
		}
	}
	if code, _, errs := call(t, base+"\nca_file="+key); code != exitFail || !strings.Contains(errs, "holds no certificate") {
		t.Errorf("code %d: %s", code, errs)
	}
}

package dnsfailover

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// testCertificate is a certificate for localhost, and who believes it.
func testCertificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ns1.example.test"}, DNSNames: []string{"ns1.example.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"dot"}}, pool
}

func TestDNSOverTLS(t *testing.T) {
	server, pool := testCertificate(t)
	s, err := NewServer(Config{Source: benchSource(t), Addrs: []string{"127.0.0.1:0"}, TLSAddrs: []string{"127.0.0.1:0"}, TLS: server, TCPIdle: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	<-s.Ready()
	addr := s.TLSAddrs()[0].String()
	client := &dns.Client{Net: "tcp-tls", Timeout: patience, TLSConfig: &tls.Config{RootCAs: pool, ServerName: "ns1.example.test", NextProtos: []string{"dot"}}}
	reply, _, err := client.Exchange(testCase{question: "big.example.test. TXT"}.query(t), addr)
	if err != nil || len(reply.Answer) != 20 || reply.Truncated {
		t.Fatalf("%v, %v", reply, err)
	}
	// Who does not begin a handshake, or breaks it, is let go and harms nobody.
	for _, sends := range []string{"", "\x00\x00", "GET / HTTP/1.0\r\n\r\n"} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(sends)); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		for buf := make([]byte, 512); err == nil; {
			_, err = conn.Read(buf)
		}
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Errorf("after %q the connection stays open", sends)
		}
		conn.Close()
	}
	if reply, _, err := client.Exchange(testCase{question: "example.test. SOA"}.query(t), addr); err != nil || len(reply.Answer) != 1 {
		t.Errorf("afterwards: %v, %v", reply, err)
	}
	if _, err := NewServer(Config{Source: benchSource(t), Addrs: []string{"127.0.0.1:0"}, TLSAddrs: []string{"127.0.0.1:0"}}); err == nil {
		t.Error("TLS without a certificate was accepted")
	}
}

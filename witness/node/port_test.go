package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"
)

// Whatever arrives at the peer port, the witness goes on.
func TestGarbageOnThePeerPort(t *testing.T) {
	r := newReal(t, nil, "a", "b", "c")
	lead := r.leader()
	put(t, lead.Node, "/before", "v")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := mrand.New(mrand.NewPCG(seed, 1))
	for i := range 400 {
		g := lead.greeting()
		g.From, g.To, g.Disk = fmt.Sprintf("ghost%d", i), lead.opts.Name, "00"
		send(t, r.peers[lead.opts.Name], i%4, g, rnd)
	}
	put(t, lead.Node, "/after", "v")
	r.settle()
}

// send opens a connection and writes random bytes: at once, behind a first
// byte, or behind a greeting that is accepted.
func send(t *testing.T, addr string, how int, g greeting, rnd *mrand.Rand) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	junk := make([]byte, rnd.IntN(2000))
	for i := range junk {
		junk[i] = byte(rnd.Uint32())
	}
	switch how {
	case 0:
	case 1:
		junk = append([]byte{kindRaft, 0x0f, 0xff}, junk...)
	case 2, 3:
		kind := byte(kindRaft)
		if how == 3 {
			kind = kindRPC
			if len(junk) > 4 {
				binary.BigEndian.PutUint32(junk, uint32(rnd.IntN(3000))) // a plausible length
			}
		} else if len(junk) > 0 {
			junk[0] %= 6 // a plausible kind of Raft request
		}
		if err := writeGreeting(c, kind, g); err != nil {
			t.Fatal(err)
		}
		if _, answer, err := readGreeting(c); err != nil || answer.Refuse != "" {
			t.Fatalf("greeting: %v %q", err, answer.Refuse)
		}
	}
	_, _ = c.Write(junk) // it may have been cut off already
	_ = c.(*net.TCPConn).CloseWrite()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Error("the witness keeps a connection open on which nothing can follow")
	}
}

func TestGreetingKeepsStrangersApart(t *testing.T) {
	own := greeting{Version: 1, Cluster: "x", ClusterID: 5, From: "a", Disk: "1"}
	ok := greeting{Version: 1, Cluster: "x", ClusterID: 5, From: "b", To: "a", Disk: "2"}
	if err := own.accepts(ok); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		change func(*greeting)
		want   string
	}{
		{func(g *greeting) { g.Version = 2 }, "run the same version"},
		{func(g *greeting) { g.Cluster = "y" }, `the witness cluster "y"`},
		{func(g *greeting) { g.ClusterID = 6 }, "different witness clusters"},
		{func(g *greeting) { g.To = "c" }, `looked for "c" and reached "a"`},
		{func(g *greeting) { g.From = "a" }, "two witnesses are called"},
	} {
		g := ok
		tc.change(&g)
		if err := own.accepts(g); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("greeting %+v: %v, want %q", g, err, tc.want)
		}
	}
	fresh := ok
	fresh.ClusterID = 0
	if err := own.accepts(fresh); err != nil {
		t.Errorf("a new member that knows no cluster id: %v", err)
	}
}

func FuzzReadGreeting(f *testing.F) {
	var b strings.Builder
	if err := writeGreeting(&b, kindRPC, greeting{From: "a", Disk: "1"}); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(b.String()))
	f.Add([]byte{kindRaft, 0, 2, '{', '}'})
	f.Fuzz(func(t *testing.T, raw []byte) {
		kind, g, err := readGreeting(strings.NewReader(string(raw)))
		if err == nil && (kind != kindRaft && kind != kindRPC || g.From == "" || g.Disk == "") {
			t.Errorf("accepted %q", raw)
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	var b strings.Builder
	if err := writeFrame(&b, 1, 2, []byte("body")); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(b.String()))
	f.Add([]byte{0x01, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, _, rest, err := readFrame(strings.NewReader(string(raw)))
		if err == nil && len(rest) > len(raw) {
			t.Errorf("%d bytes out of %d", len(rest), len(raw))
		}
	})
}

func TestMutualTLS(t *testing.T) {
	ca := newCA(t)
	r := newReal(t, func(o *Options) { o.TLS = ca.config(t, o.Name) }, "a", "b", "c")
	put(t, r.follower().Node, "/k", "v")
	r.settle()
	for _, tc := range []struct {
		name string
		cfg  *tls.Config
	}{
		{"no certificate", &tls.Config{RootCAs: ca.pool}},
		{"certificate of another authority", newCA(t).config(t, "b")},
		{"certificate of another name", ca.config(t, "mallory")},
	} {
		cfg := tc.cfg.Clone()
		cfg.RootCAs, cfg.ServerName = ca.pool, "a"
		c, err := tls.Dial("tcp", r.peers["a"], cfg)
		if err != nil {
			continue // refused in the handshake
		}
		g := r.live["b"].greeting()
		g.To = "a"
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		err = writeGreeting(c, kindRPC, g)
		if err == nil {
			var answer greeting
			if _, answer, err = readGreeting(c); err == nil && answer.Refuse == "" {
				t.Errorf("%s: accepted as b", tc.name)
			}
		}
		_ = c.Close()
	}
	// Without TLS nothing gets through either.
	p := newPort(r.lns["b"], &Options{Name: "b", Listener: r.lns["b"]})
	p.self, p.meet = r.live["b"].greeting, func(string, string) error { return nil }
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := p.dial(ctx, kindRPC, "a", r.peers["a"]); err == nil {
		t.Error("a connection without TLS was accepted")
	}
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newCA(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert: cert, key: key, pool: pool}
}

func (a *authority) config(t *testing.T, name string) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: a.pool, ClientCAs: a.pool,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
}

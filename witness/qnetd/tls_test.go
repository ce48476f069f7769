package qnetd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"path/filepath"
	"testing"
	"time"

	"quorate/witness/qnetd/authority"
	"quorate/witness/qnetd/client"
	"quorate/witness/qnetd/wire"
)

// pki is an authority with what it made for a server and for two clusters.
type pki struct {
	server   *tls.Config
	roots    *x509.CertPool
	clusters map[string]tls.Certificate
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	dir, now := t.TempDir(), time.Now()
	ca, err := authority.Create(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Server(now); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, authority.ServerCertFile), filepath.Join(dir, authority.ServerKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	p := &pki{roots: x509.NewCertPool(), clusters: map[string]tls.Certificate{}}
	p.roots.AppendCertsFromPEM(ca.PEM())
	p.server = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: p.roots}
	for _, name := range []string{"labcluster", "other"} {
		key, request, err := authority.NewKey(name)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := ca.Sign(request, false, now)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), key)
		if err != nil {
			t.Fatal(err)
		}
		p.clusters[name] = pair
	}
	return p
}

func (p *pki) client(cluster string) *tls.Config {
	pair, ok := p.clusters[cluster]
	c := client.TLSConfig(p.roots, pair, func(string) {})
	if !ok {
		c.Certificates = nil
	}
	return c
}

// enter tries to become a session with a certificate of some cluster; "" has none.
func enter(t *testing.T, s *Server, p *pki, cert string) (*client.Conn, error) {
	t.Helper()
	nc, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var config *tls.Config
	if cert != "plain" {
		config = p.client(cert)
	}
	c, err := client.Handshake(ctx, nc, "labcluster", config, 1)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = c.Close() })
	_, err = c.Init(ctx, initOf(1))
	return c, err
}

func TestTLS(t *testing.T) {
	p := newPKI(t)
	for _, mode := range []string{TLSRequired, TLSOn} {
		t.Run(mode, func(t *testing.T) {
			s, n := serve(t, func(s *Server) { s.TLS = TLS{Mode: mode, CertRequired: true, Config: p.server} })
			if _, err := enter(t, s, p, "other"); err == nil {
				t.Error("a client with the certificate of another cluster is let in")
			}
			if _, err := enter(t, s, p, "none"); err == nil {
				t.Error("a client without a certificate is let in over TLS")
			}
			c, err := enter(t, s, p, "labcluster")
			if err != nil {
				t.Fatal(err)
			}
			if !c.TLS() {
				t.Error("the session is not encrypted")
			}
			if q := n.State().Cluster("lab").Quorum.Node(1).Session; !q.TLS || !q.Verified {
				t.Errorf("the state says tls %t, verified %t", q.TLS, q.Verified)
			}
			_ = c.Close()
			until(t, "the session is over", func() bool { return n.State().Cluster("lab").Quorum.Node(1).Session == nil })
			if mode == TLSOn { // that is what "on" means
				if _, err := enter(t, s, p, "plain"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	t.Run("plain client", func(t *testing.T) {
		s, _ := serve(t, func(s *Server) { s.TLS = TLS{Mode: TLSRequired, CertRequired: true, Config: p.server} })
		if _, err := enter(t, s, p, "plain"); err == nil {
			t.Error("a client without TLS is let in")
		}
		q := dial(t, s).say(preinit(), initOf(1))
		if m := hearUntil[wire.PreinitReply](q); m.TLS != wire.TLSRequired || !m.CertRequired {
			t.Errorf("PREINIT is answered %+v", m)
		}
		if m := hearUntil[wire.ServerError](q); m.Code != wire.TLSIsRequired {
			t.Errorf("INIT in plain text is answered %v", m.Code)
		}
	})
}

// TestBrokenTLSIsNotAGoodbye: only a close_notify of the client ends its session
// in good order. The end of the TCP connection may be the kernel's doing, for a
// qdevice that was killed and whose vote still counts.
func TestBrokenTLSIsNotAGoodbye(t *testing.T) {
	p := newPKI(t)
	s, n := serve(t, func(s *Server) { s.TLS = TLS{Mode: TLSRequired, CertRequired: true, Config: p.server} })
	for _, polite := range []bool{false, true} {
		nc, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		p1 := &peer{t: t, conn: nc, r: wire.NewReader(nc, wire.MaxMessage)}
		p1.say(preinit())
		hearUntil[wire.PreinitReply](p1)
		p1.say(wire.StartTLS{Seq: 2})
		tc := tls.Client(nc, p.client("labcluster"))
		_ = tc.SetDeadline(time.Now().Add(time.Minute))
		p2 := &peer{t: t, conn: tc, r: wire.NewReader(tc, wire.MaxMessage)}
		p2.say(initOf(1))
		hearUntil[wire.InitReply](p2)
		p2.say(config(3), members(4, wire.RingID{NodeID: 1, Seq: 9}, 1))
		hearUntil[wire.VoteInfo](p2)
		if polite {
			_ = tc.CloseWrite()
		} else {
			_ = nc.(*net.TCPConn).CloseWrite()
		}
		until(t, "the session is over", func() bool { return n.State().Cluster("lab").Quorum.Node(1).Session == nil })
		if node := n.State().Cluster("lab").Quorum.Node(1); node.May == polite {
			t.Errorf("polite=%t: the ACK may be counted: %t", polite, node.May)
		}
		_ = nc.Close()
	}
}

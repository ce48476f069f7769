package etcdapi_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/net/http2"

	"quorate/witness/etcdapi"
)

func (s *server) jsonOver(url string, tr *http.Transport) (body string, major int) {
	s.Helper()
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Post(url+"/v3/kv/range", "application/json", strings.NewReader(`{"key":"YQ==","count_only":true}`))
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	return string(b), res.ProtoMajor
}

// JSON comes over HTTP/2 too: curl negotiates it over TLS.
func TestJSONOverHTTP2(t *testing.T) {
	s := start(t)
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	if body, major := s.jsonOver("http://"+s.addr, tr); major != 2 || !strings.Contains(body, `"raft_term"`) {
		t.Fatal(major, body)
	}
}

func TestTLS(t *testing.T) {
	cert, pool := selfSigned(t)
	s, ctx := start(t, withTLS(&tls.Config{Certificates: []tls.Certificate{cert}})), ctxOf(t)
	conf := &tls.Config{RootCAs: pool}
	if body, major := s.jsonOver("https://"+s.addr, &http.Transport{TLSClientConfig: conf.Clone(), ForceAttemptHTTP2: true}); major != 2 || !strings.Contains(body, `"raft_term"`) {
		t.Fatal(major, body)
	}
	// Patroni's urllib3 speaks HTTP/1.1.
	if body, major := s.jsonOver("https://"+s.addr, &http.Transport{TLSClientConfig: conf.Clone()}); major != 1 || !strings.Contains(body, `"raft_term"`) {
		t.Fatal(major, body)
	}
	c := s.client(func(cfg *clientv3.Config) { cfg.TLS, cfg.Endpoints = conf, []string{"https://" + s.addr} })
	ch := c.Watch(ctx, "a", clientv3.WithCreatedNotify())
	next(t, ch)
	if _, err := c.Put(ctx, "a", "1"); err != nil {
		t.Fatal(err)
	}
	if r := next(t, ch); len(r.Events) != 1 {
		t.Fatalf("%+v", r)
	}
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "witness"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// vip-manager pings its connection often; grpc-go's default would end it with
// "too_many_pings" after the third.
func TestFrequentPingsAreWelcome(t *testing.T) {
	s := start(t)
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(conn, conn)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	for i := range byte(50) {
		if err := f.WritePing(false, [8]byte{i}); err != nil {
			t.Fatal(err)
		}
		for acked := false; !acked; {
			frame, err := f.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			switch frame := frame.(type) {
			case *http2.GoAwayFrame:
				t.Fatalf("ping %d: %v", i, frame.ErrCode)
			case *http2.PingFrame:
				acked = frame.IsAck() && frame.Data[0] == i
			}
		}
	}
}

func TestSessions(t *testing.T) {
	s := start(t)
	host := netip.MustParseAddr("127.0.0.1")
	waitFor := func(conns, watches int) {
		t.Helper()
		deadline := time.After(30 * time.Second)
		for {
			changed := s.srv.SessionsChanged()
			list := s.srv.Sessions()
			if conns == 0 && len(list) == 0 || len(list) == 1 && list[0] == (etcdapi.SessionInfo{Remote: host, Conns: conns, Watches: watches}) {
				return
			}
			select {
			case <-changed:
			case <-deadline:
				t.Fatalf("sessions %+v, want %d connections and %d watches", list, conns, watches)
			}
		}
	}
	waitFor(0, 0)
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(1, 0)
	w := s.watch(`{"create_request":{"key":"YQ=="}}`)
	waitFor(2, 1)
	ctx, cancel := context.WithCancel(t.Context())
	s.rawWatch(ctx)
	waitFor(3, 2)
	cancel()
	waitFor(3, 1)
	_ = w.body.Close()
	_ = conn.Close()
	waitFor(1, 0) // the gRPC connection is still there
}

// A stop ends watches and connections; Run returns when nothing of it is left.
func TestStopWithOpenStreams(t *testing.T) {
	s := start(t)
	json := s.watch(`{"create_request":{"key":"YQ=="}}`)
	json.next()
	raw := s.rawWatch(ctxOf(t))
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	json.wantBroken()
	if _, err := raw.s.Recv(); err == nil {
		t.Fatal("the stream goes on")
	}
	if list := s.srv.Sessions(); len(list) != 0 {
		t.Fatalf("sessions %+v", list)
	}
	if _, err := net.Dial("tcp", s.addr); err == nil {
		t.Fatal("the port is still open")
	}
}

package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"quorate/witness/qnetd/wire"
)

// signed makes a certificate; parent nil signs itself, as an authority.
func signed(t *testing.T, name string, parent *tls.Certificate, from, to time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to,
		IsCA: parent == nil, BasicConstraintsValid: true,
	}
	issuer, signer := template, any(key)
	if parent != nil {
		issuer, signer = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func TestVerify(t *testing.T) {
	now := time.Now()
	year := 365 * 24 * time.Hour
	ca := signed(t, "QNet CA", nil, now.Add(-year), now.Add(year))
	other := signed(t, "QNet CA", nil, now.Add(-year), now.Add(year))
	pool := x509.NewCertPool()
	pool.AddCert(ca.Leaf)
	for _, c := range []struct {
		name     string
		cert     tls.Certificate
		warn, ok bool
	}{
		{"good", signed(t, wire.ServerName, &ca, now.Add(-time.Hour), now.Add(time.Hour)), false, true},
		{"expired", signed(t, wire.ServerName, &ca, now.Add(-2*time.Hour), now.Add(-time.Hour)), true, true},
		{"not yet valid", signed(t, wire.ServerName, &ca, now.Add(time.Hour), now.Add(2*time.Hour)), true, true},
		{"of another name", signed(t, "labcluster", &ca, now.Add(-time.Hour), now.Add(time.Hour)), false, false},
		{"of another authority", signed(t, wire.ServerName, &other, now.Add(-time.Hour), now.Add(time.Hour)), false, false},
		{"expired, of another authority", signed(t, wire.ServerName, &other, now.Add(-2*time.Hour), now.Add(-time.Hour)), true, false},
	} {
		warned := false
		err := verify([]*x509.Certificate{c.cert.Leaf}, pool, now, func(string) { warned = true })
		if (err == nil) != c.ok || warned != c.warn {
			t.Errorf("%s: %v, warned %t", c.name, err, warned)
		}
	}
	if verify(nil, pool, now, func(string) {}) == nil {
		t.Error("no certificate is good enough")
	}
}

// against runs a handshake, and INIT, with a server that answers as told.
func against(t *testing.T, config *tls.Config, answers ...wire.Message) error {
	t.Helper()
	near, far := net.Pipe()
	go func() {
		r := wire.NewReader(far, wire.MaxMessage)
		for _, a := range answers {
			if _, err := r.Next(); err != nil {
				return
			}
			raw, _ := wire.Append(nil, a)
			_, _ = far.Write(raw)
		}
		_, _ = r.Next() // what more is asked is not answered
		_, _ = r.Next()
	}()
	defer far.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	c, err := Handshake(ctx, near, "labcluster", config, 1)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Init(ctx, wire.Init{
		NodeID: 1, Algorithm: wire.AlgorithmFFSplit, HeartbeatMS: 8000, TieBreaker: wire.TieBreaker{Mode: wire.TieLowest},
	})
	return err
}

func TestHandshake(t *testing.T) {
	plain := wire.PreinitReply{Seq: 1}
	reply := wire.InitReply{Seq: 2, MaxRequest: wire.MaxMessage, MaxReply: wire.MaxMessage, Algorithms: []wire.Algorithm{wire.AlgorithmFFSplit}}
	with := func(edit func(*wire.InitReply)) wire.Message {
		r := reply
		edit(&r)
		return r
	}
	for _, c := range []struct {
		name    string
		config  *tls.Config
		answers []wire.Message
		want    string // in the error; "" = none
	}{
		{"good", nil, []wire.Message{plain, reply}, ""},
		{"no answer", nil, nil, "deadline"},
		{"wrong number", nil, []wire.Message{wire.PreinitReply{Seq: 9}}, "sequence number 9"},
		{"something else", nil, []wire.Message{wire.VoteInfo{Vote: wire.ACK}}, "VOTE_INFO"},
		{"of a client", nil, []wire.Message{wire.StartTLS{}}, "only a client"},
		{"refused", nil, []wire.Message{wire.ServerError{Code: wire.InternalError}}, "INTERNAL_ERROR"},
		{"TLS is required", nil, []wire.Message{wire.PreinitReply{Seq: 1, TLS: wire.TLSRequired}}, "requires TLS"},
		{"TLS is not offered", &tls.Config{}, []wire.Message{plain}, "does not offer TLS"},
		{"TLS does not come", &tls.Config{ServerName: "x"}, []wire.Message{wire.PreinitReply{Seq: 1, TLS: wire.TLSSupported}}, "deadline"},
		{"INIT refused", nil, []wire.Message{plain, with(func(r *wire.InitReply) { r.Code = wire.DuplicateNodeID })}, "DUPLICATE_NODE_ID"},
		{"INIT number", nil, []wire.Message{plain, with(func(r *wire.InitReply) { r.Seq = 3 })}, "sequence number 3"},
		{"small requests", nil, []wire.Message{plain, with(func(r *wire.InitReply) { r.MaxRequest = 32767 })}, "sizes"},
		{"huge replies", nil, []wire.Message{plain, with(func(r *wire.InitReply) { r.MaxReply = wire.MaxClientMessage + 1 })}, "sizes"},
		{"no such algorithm", nil, []wire.Message{plain, with(func(r *wire.InitReply) { r.Algorithms = nil })}, "does not offer the algorithm"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				err := against(t, c.config, c.answers...)
				switch {
				case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
					t.Errorf("%v, want %q", err, c.want)
				}
				var refused *RefusedError
				if errors.As(err, &refused) != strings.Contains(c.name, "refused") {
					t.Errorf("%v is %T", err, err)
				}
			})
		})
	}
}

package qnetd

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"

	"quorate/witness/qnetd/wire"
)

// The modes of TLS.
const (
	TLSOff      = "off"
	TLSOn       = "on" // a client that never starts TLS is let in without a certificate
	TLSRequired = "required"
)

// TLS says how connections are protected. Config must have a certificate that is
// valid for "Qnetd Server", and ask for client certificates if CertRequired.
type TLS struct {
	Mode         string
	CertRequired bool // a client must show the certificate of its cluster
	Config       *tls.Config
}

func (t *TLS) supported() wire.TLS {
	switch t.Mode {
	case TLSRequired:
		return wire.TLSRequired
	case TLSOn:
		return wire.TLSSupported
	}
	return wire.TLSUnsupported
}

// finConn notes whether the end of the TCP connection was read. crypto/tls takes
// it for the end of the TLS connection, also without a close_notify.
type finConn struct {
	net.Conn
	fin atomic.Bool
}

// Read implements net.Conn.
func (c *finConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		c.fin.Store(true)
	}
	return n, err
}

// certificate checks that a client shows the certificate of its cluster: its
// chain was verified in the handshake, its common name is the cluster's.
func certificate(conn *tls.Conn, cluster string) error {
	state := conn.ConnectionState()
	if len(state.VerifiedChains) == 0 {
		return errors.New("the client shows no certificate")
	}
	if name := state.PeerCertificates[0].Subject.CommonName; name != cluster {
		return errors.New("the client's certificate is of cluster " + name)
	}
	return nil
}

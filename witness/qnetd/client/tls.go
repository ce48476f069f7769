package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"quorate/witness/qnetd/wire"
)

// TLSConfig verifies a server as corosync-qdevice does: its certificate must be
// signed by one of the authorities and be made out to [wire.ServerName], be it as
// common name or as alternative name. A certificate that is out of date is
// accepted, after a call of warn: a cluster that loses its witness for a date
// is worse off. cert identifies the client's cluster by its common name.
func TLSConfig(authorities *x509.CertPool, cert tls.Certificate, warn func(string)) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		// The standard check wants the name as an alternative name, which the
		// certificates of corosync-qnetd-certutil do not have: verify does it all.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			return verify(state.PeerCertificates, authorities, time.Now(), warn)
		},
	}
}

func verify(chain []*x509.Certificate, authorities *x509.CertPool, now time.Time, warn func(string)) error {
	if len(chain) == 0 {
		return errors.New("the server has no certificate")
	}
	leaf := chain[0]
	if leaf.Subject.CommonName != wire.ServerName && !slices.Contains(leaf.DNSNames, wire.ServerName) {
		return fmt.Errorf("the server's certificate is made out to %q, not to %q", leaf.Subject.CommonName, wire.ServerName)
	}
	options := x509.VerifyOptions{
		Roots: authorities, Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	if now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		warn(fmt.Sprintf("the certificate of the server is valid from %s to %s only: replace it",
			leaf.NotBefore.Format(time.DateOnly), leaf.NotAfter.Format(time.DateOnly)))
		options.CurrentTime = leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
	}
	if _, err := leaf.Verify(options); err != nil {
		return fmt.Errorf("the server's certificate is not signed by the authority of the witnesses: %w", err)
	}
	return nil
}

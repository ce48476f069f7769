package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// TLSConfig names the files of a TLS listener, in PEM form.
type TLSConfig struct {
	Cert string `yaml:"cert"` // certificate with its intermediates
	Key  string `yaml:"key"`
	// ClientCA verifies client certificates, which clients then must have.
	ClientCA string `yaml:"client_ca"`
	// ClientCert: "required" (default with client_ca) or "optional", for clients
	// that log in with a password instead.
	ClientCert string `yaml:"client_cert"`
}

// load reads the files. Every fault is reported at once.
func (t *TLSConfig) load() (*tls.Config, error) {
	var faults []error
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf("  etcd.tls."+format, args...)) }
	pair := &certificate{certFile: t.Cert, keyFile: t.Key}
	if t.Cert == "" || t.Key == "" {
		add("cert, key: TLS needs both files")
	} else if _, err := pair.get(nil); err != nil {
		add("cert, key: %w", err)
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get}
	if t.ClientCA != "" {
		out.ClientAuth, out.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if pem, err := os.ReadFile(t.ClientCA); err != nil {
			add("client_ca: %w", err)
		} else if !out.ClientCAs.AppendCertsFromPEM(pem) {
			add("client_ca: %s holds no certificate in PEM form", t.ClientCA)
		}
	}
	switch t.ClientCert {
	case "", "required":
		if t.ClientCert != "" && t.ClientCA == "" {
			add("client_cert: certificates cannot be verified without client_ca")
		}
	case "optional":
		if t.ClientCA == "" {
			add("client_cert: certificates cannot be verified without client_ca")
		}
		out.ClientAuth = tls.VerifyClientCertIfGiven
	default:
		add("client_cert: %q is neither required nor optional", t.ClientCert)
	}
	return out, errors.Join(faults...)
}

// certificate is a pair of files that may be renewed while the witness runs.
type certificate struct {
	certFile, keyFile string

	mu     sync.Mutex
	loaded *tls.Certificate
	stamp  [2]time.Time // modification times of what is loaded
}

// get returns the newest certificate. If new files do not fit together (one of them is
// written first) the old pair stays in use.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var stamp [2]time.Time
	for i, name := range [...]string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return c.old(err)
		}
		stamp[i] = info.ModTime()
	}
	if c.loaded != nil && stamp == c.stamp {
		return c.loaded, nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return c.old(err)
	}
	c.loaded, c.stamp = &pair, stamp
	return c.loaded, nil
}

func (c *certificate) old(err error) (*tls.Certificate, error) {
	if c.loaded != nil {
		return c.loaded, nil
	}
	return nil, err
}

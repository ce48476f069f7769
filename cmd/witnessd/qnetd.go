package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"quorate/witness/httpapi"
	"quorate/witness/qnetd"
)

// QnetdConfig is the port of the quorum device for corosync.
type QnetdConfig struct {
	Listen string `yaml:"listen"` // host:port; corosync-qdevice dials port 5403; empty turns it off
	// TLS: "required" (default), "on" (a client may go without, and without a
	// certificate) or "off".
	TLS  string `yaml:"tls"`
	Cert string `yaml:"cert"` // PEM; must be valid for the name "Qnetd Server"
	Key  string `yaml:"key"`
	// ClientCA verifies the certificates of the clusters, whose common name is the
	// cluster_name.
	ClientCA string `yaml:"client_ca"`
	// ClientCert: "required" (default) or "off", which lets anybody claim any cluster.
	ClientCert string `yaml:"client_cert"`

	tls *tls.Config
}

func (q *QnetdConfig) setDefaults() {
	if q.TLS == "" {
		q.TLS = qnetd.TLSRequired
	}
	if q.ClientCert == "" {
		q.ClientCert = "required"
	}
}

// load reads the files. Every fault is reported at once.
func (q *QnetdConfig) load() error {
	if q.Listen == "" {
		return nil
	}
	var faults []error
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf("  qnetd."+format, args...)) }
	switch q.TLS {
	case qnetd.TLSOff:
		return nil
	case qnetd.TLSOn, qnetd.TLSRequired:
	default:
		add("tls: %q is none of required, on, off", q.TLS)
	}
	pair := &certificate{certFile: q.Cert, keyFile: q.Key}
	if q.Cert == "" || q.Key == "" {
		add("cert, key: TLS needs both files; `witnessctl qdevice --help` tells how to make them, `tls: off` goes without")
	} else if _, err := pair.get(nil); err != nil {
		add("cert, key: %w", err)
	}
	q.tls = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get}
	switch q.ClientCert {
	case "off":
	case "required":
		q.tls.ClientAuth, q.tls.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if q.ClientCA == "" {
			add("client_ca: the certificates of the clusters cannot be verified without the CA that signed them")
		} else if pem, err := os.ReadFile(q.ClientCA); err != nil {
			add("client_ca: %w", err)
		} else if !q.tls.ClientCAs.AppendCertsFromPEM(pem) {
			add("client_ca: %s holds no certificate in PEM form", q.ClientCA)
		}
	default:
		add("client_cert: %q is neither required nor off", q.ClientCert)
	}
	return errors.Join(faults...)
}

// contactTime is how old a witness's contact with the leader may be while it
// answers the heartbeats of qdevice clients: longer than a change of leader takes
// on a busy machine.
func contactTime(t TimingConfig) time.Duration { return 5*t.Election + 2*time.Second }

func openQnetd(cfg Config, b *backend, log *slog.Logger, reg prometheus.Registerer) (*qnetd.Server, error) {
	s := &qnetd.Server{
		Listen: cfg.Qnetd.Listen, Node: b, Log: log, Contact: contactTime(cfg.Timing),
		TLS: qnetd.TLS{Mode: cfg.Qnetd.TLS, CertRequired: cfg.Qnetd.TLS != qnetd.TLSOff && cfg.Qnetd.ClientCert == "required", Config: cfg.Qnetd.tls},
	}
	if err := s.Open(); err != nil {
		return nil, err
	}
	if cfg.Qnetd.TLS != qnetd.TLSRequired {
		log.Warn("the quorum device can be used without TLS: whoever reaches the port can claim to be any node", "tls", cfg.Qnetd.TLS)
	}
	b.Handle(qnetd.AliveMethod, s.Alive)
	return s, reg.Register(s)
}

func (f *fronts) qnetdAddr() string {
	if f.qnet == nil {
		return ""
	}
	return f.qnet.Addr()
}

// qnetdInfo returns what the HTTP API tells of the port, or nil without one.
func (f *fronts) qnetdInfo(cfg QnetdConfig) func() httpapi.QnetdInfo {
	if f.qnet == nil {
		return nil
	}
	return func() httpapi.QnetdInfo {
		return httpapi.QnetdInfo{
			Address: f.qnet.Addr(), TLS: cfg.TLS, CertRequired: f.qnet.TLS.CertRequired, Clients: f.qnet.Clients(), Contact: f.qnet.Contact.Seconds(),
		}
	}
}

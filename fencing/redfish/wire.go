package redfish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

// maxBody bounds what is read of one answer.
const maxBody = 1 << 20

var (
	errPin    = errors.New("the BMC's certificate does not have the pinned fingerprint: it was renewed, or somebody is in between; compare it at the machine and correct the setting")
	errOrigin = errors.New("the BMC redirects to another origin, where the credentials must not go")
)

// wire carries the requests of one device. gofish fixes its context when it connects and has no deadlines of its own
// (v0.20.0), so both are given here, for each request.
type wire struct {
	base   *http.Transport
	origin *url.URL
	limit  time.Duration                    // for one request and its answer
	call   context.Context                  // of the Device method that is running
	cert   atomic.Pointer[x509.Certificate] // the BMC's, as last seen
	ahead  atomic.Pointer[time.Duration]    // of our clock the BMC's, by the latest Date header; whole seconds
}

func newWire(c Config, origin *url.URL, t trust) *wire {
	w := &wire{origin: origin, limit: c.CallTimeout, call: context.Background()}
	config := t.tls()
	config.VerifyConnection = func(state tls.ConnectionState) error {
		w.cert.Store(state.PeerCertificates[0])
		return t.verifyPin(state.PeerCertificates[0])
	}
	w.base = &http.Transport{
		Proxy:                 nil, // never: a BMC is reached directly, or not at all
		DialContext:           (&net.Dialer{Timeout: c.DialTimeout}).DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   c.CallTimeout,
		ResponseHeaderTimeout: c.CallTimeout,
		MaxConnsPerHost:       1, // many BMCs serve one connection well and two badly
		IdleConnTimeout:       30 * time.Second,
	}
	return w
}

// fingerprint is the SHA-256 of the BMC's certificate as last seen, in the form of the setting cert_sha256.
func (w *wire) fingerprint() string {
	leaf := w.cert.Load()
	if leaf == nil {
		return "(none seen)"
	}
	return fmt.Sprintf("%x", sha256.Sum256(leaf.Raw))
}

// client returns a client that stays on the BMC: gofish's session token is a header that Go would take along.
func (w *wire) client() *http.Client {
	return &http.Client{Transport: w, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) > 3 {
			return errors.New("the BMC redirects in a circle")
		}
		return w.check(req.URL)
	}}
}

func (w *wire) check(u *url.URL) error {
	if u.Scheme != w.origin.Scheme || u.Host != w.origin.Host || u.User != nil {
		return errOrigin
	}
	return nil
}

// RoundTrip adds the deadline, keeps the connection for the next request, and bounds the answer.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := w.check(req.URL); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(w.call, w.limit, fmt.Errorf("no complete answer within %v", w.limit))
	req = req.Clone(ctx)
	req.Close = false
	resp, err := w.base.RoundTrip(req)
	if err != nil {
		cancel()
		return nil, err
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		ahead := time.Until(date).Round(time.Second)
		w.ahead.Store(&ahead)
	}
	resp.Body = &body{Reader: io.LimitReader(resp.Body, maxBody), closer: resp.Body, cancel: cancel}
	return resp, nil
}

// body ends the request's deadline when it is closed. It reads what gofish leaves unread, so that the connection can
// serve the next request: a TLS handshake costs a BMC's small processor up to a second.
type body struct {
	io.Reader
	closer io.Closer
	cancel context.CancelFunc
}

func (b *body) Close() error {
	defer b.cancel()
	_, _ = io.Copy(io.Discard, b.Reader) // bounded in size and time; without it a new connection is made
	return b.closer.Close()
}

func (t trust) tls() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	switch {
	case t.cert != nil || t.spki != nil:
		c.InsecureSkipVerify = true // verifyPin judges instead, and says more than a chain would
	case t.ca != nil:
		c.RootCAs = x509.NewCertPool()
		c.RootCAs.AppendCertsFromPEM(t.ca)
	case t.insecure:
		c.InsecureSkipVerify = true
	}
	return c
}

func (t trust) verifyPin(leaf *x509.Certificate) error {
	cert, spki := sha256.Sum256(leaf.Raw), sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	if (t.cert != nil && !bytes.Equal(t.cert, cert[:])) || (t.spki != nil && !bytes.Equal(t.spki, spki[:])) {
		return errPin
	}
	return nil
}

func anyCertificate(pem []byte) bool { return x509.NewCertPool().AppendCertsFromPEM(pem) }

// distrusted reports whether err says that the BMC is not who it should be, which no retry changes.
func distrusted(err error) bool {
	var chain *tls.CertificateVerificationError
	return errors.Is(err, errPin) || errors.Is(err, errOrigin) || errors.As(err, &chain)
}

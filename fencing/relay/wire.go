package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/icholy/digest"

	"quorate/fencing"
)

const maxBody = 256 << 10 // of an answer

// wire carries the requests of one device.
type wire struct {
	base   *http.Transport
	client *http.Client
}

func newWire(c Config, p protocol, config *tls.Config) *wire {
	base := &http.Transport{
		Proxy:                 nil, // never: a relay is reached directly, or not at all
		DialContext:           (&net.Dialer{Timeout: c.DialTimeout}).DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   c.CallTimeout,
		ResponseHeaderTimeout: c.CallTimeout,
		MaxConnsPerHost:       1,
	}
	var transport http.RoundTripper = base
	if p.auth == "digest" && c.Password != "" {
		transport = &digest.Transport{Username: c.Username, Password: c.Password, Transport: base}
	}
	return &wire{base: base, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // an answer like any other: not 200
	}}
}

// send sends one request. Its error means that there was no answer. Errors never hold the address: Tasmota takes the
// password there.
func (d *Device) send(ctx context.Context, r request) (status int, body []byte, err error) {
	limit := d.config.CallTimeout
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no complete answer within %v", limit))
	defer cancel()
	address := d.origin.Scheme + "://" + d.origin.Host + r.path
	login := d.config.Password != ""
	if login && d.protocol.auth == "query" {
		address += "&" + url.Values{"user": {d.config.Username}, "password": {d.config.Password}}.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, address, strings.NewReader(r.body))
	if err != nil {
		return 0, nil, errors.New("the request cannot be made")
	}
	if login && d.protocol.auth == "basic" {
		req.SetBasicAuth(d.config.Username, d.config.Password)
	}
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := d.wire.client.Do(req)
	if err != nil {
		return 0, nil, d.unreached(ctx, err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return 0, nil, fmt.Errorf("%s: the answer broke off: %w", d.origin.Host, d.unreached(ctx, err))
	}
	return resp.StatusCode, body, nil
}

// unreached takes the address out of an error, and marks what no retry changes.
func (d *Device) unreached(ctx context.Context, err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var chain *tls.CertificateVerificationError
	switch {
	case errors.As(err, &chain), errors.Is(err, errPin):
		return fmt.Errorf("%w: %s: %w", fencing.ErrPermanent, d.origin.Host, err)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", d.origin.Host, context.Cause(ctx))
	default:
		return fmt.Errorf("%s: %w", d.origin.Host, err)
	}
}

var errPin = errors.New("its certificate does not have the pinned fingerprint: it was renewed, or somebody is in between")

func trust(c Config) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.Insecure}
	ways := 0
	for _, given := range []bool{c.CAFile != "", c.CertSHA256 != "", c.Insecure} {
		if given {
			ways++
		}
	}
	if ways > 1 {
		return nil, errors.New("relay: give only one of ca_file, cert_sha256 and insecure")
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("relay: ca_file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("relay: ca_file: %s holds no certificate in PEM form", c.CAFile)
		}
	}
	if c.CertSHA256 != "" {
		want, err := hex.DecodeString(strings.ReplaceAll(c.CertSHA256, ":", ""))
		if err != nil || len(want) != sha256.Size {
			if want, err = base64.StdEncoding.DecodeString(c.CertSHA256); err != nil || len(want) != sha256.Size {
				return nil, errors.New("relay: cert_sha256: not a SHA-256 fingerprint: give 64 hex digits or 44 characters of base64")
			}
		}
		config.InsecureSkipVerify = true // VerifyConnection judges instead
		config.VerifyConnection = func(state tls.ConnectionState) error {
			if got := sha256.Sum256(state.PeerCertificates[0].Raw); !bytes.Equal(got[:], want) {
				return errPin
			}
			return nil
		}
	}
	return config, nil
}

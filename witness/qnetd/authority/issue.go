package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"quorate/witness/qnetd/wire"
)

// TakenError is a cluster name that is already in use with another key.
type TakenError struct {
	Cluster string
	Since   time.Time
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("cluster %q has had a certificate for another key since %s. To the witnesses two clusters of one name are one cluster, "+
		"and each would lose votes to the other. If it is the same cluster with a new key, say so with --replace; else rename one of them",
		e.Cluster, e.Since.Format(time.DateOnly))
}

// ParseRequest reads a PKCS#10 request, DER or PEM, and checks it as a cluster's
// request: signed by its own key, named after the cluster, with a key of today.
func ParseRequest(raw []byte) (*x509.CertificateRequest, error) {
	if block, _ := pem.Decode(raw); block != nil {
		raw = block.Bytes
	}
	request, err := x509.ParseCertificateRequest(raw)
	if err != nil {
		return nil, fmt.Errorf("not a certificate request as `corosync-qdevice-net-certutil -r` makes it: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the request is not signed by the key that it is for: %w", err)
	}
	if err := checkName(request.Subject.CommonName); err != nil {
		return nil, err
	}
	if key, is := request.PublicKey.(*rsa.PublicKey); is && key.N.BitLen() < 2048 {
		return nil, fmt.Errorf("the request's RSA key has %d bits; make one with at least 2048", key.N.BitLen())
	}
	return request, nil
}

// checkName takes names that are file names as well: a cluster's is.
func checkName(cluster string) error {
	switch {
	case cluster == "":
		return errors.New("the certificate would have no cluster name (common name)")
	case cluster == Name || cluster == wire.ServerName:
		return fmt.Errorf("%q is not a cluster's name: it is the name of the witnesses' own certificates", cluster)
	case len(cluster) > 64:
		return fmt.Errorf("the cluster name %q is longer than 64 bytes, which a certificate cannot hold", cluster)
	case strings.ContainsAny(cluster, "/\x00") || cluster[0] == '.':
		return fmt.Errorf("the cluster name %q has a character that it may not have: a slash, a NUL, or a dot at its beginning", cluster)
	}
	return nil
}

// Sign issues the certificate of a cluster to the key of a request, and keeps a
// copy. A name that was issued to another key fails with [*TakenError], unless
// again is set.
func (a *Authority) Sign(request *x509.CertificateRequest, again bool, now time.Time) (*x509.Certificate, error) {
	cluster := request.Subject.CommonName
	if err := checkName(cluster); err != nil {
		return nil, err
	}
	path := filepath.Join(a.dir, issuedFolder, cluster+".crt")
	old, err := ReadCert(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case !again && !samePublic(old.PublicKey, request.PublicKey):
		return nil, &TakenError{Cluster: cluster, Since: old.NotBefore.Add(early)}
	}
	cert, err := a.issue(cluster, nil, request.PublicKey, now)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return cert, replace(path, encodeCert(cert.Raw), 0o644)
}

// NewKey makes a key for a cluster and the request for its certificate. It is
// for a quorum device behind witness-agent, which needs no NSS database.
func NewKey(cluster string) (keyPEM []byte, request *x509.CertificateRequest, err error) {
	if err := checkName(cluster); err != nil {
		return nil, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: cluster}}, key)
	if err != nil {
		return nil, nil, err
	}
	if request, err = ParseRequest(der); err != nil {
		return nil, nil, err
	}
	keyPEM, err = encodeKey(key)
	return keyPEM, request, err
}

// Server makes a new key and certificate for the witnesses, which all present
// the same name, and writes both into the directory.
func (a *Authority) Server(now time.Time) (*x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	cert, err := a.issue(wire.ServerName, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, key.Public(), now)
	if err != nil {
		return nil, err
	}
	if err := replace(filepath.Join(a.dir, ServerKeyFile), keyPEM, 0o600); err != nil {
		return nil, err
	}
	return cert, replace(filepath.Join(a.dir, ServerCertFile), encodeCert(cert.Raw), 0o644)
}

func (a *Authority) issue(name string, usage []x509.ExtKeyUsage, key crypto.PublicKey, now time.Time) (*x509.Certificate, error) {
	end := now.Add(leafLife)
	if end.After(a.Cert.NotAfter) {
		end = a.Cert.NotAfter
	}
	if !now.Before(end) {
		return nil, fmt.Errorf("the authority ended on %s: it signs nothing any more. Make a new one in another directory and import it on all nodes",
			a.Cert.NotAfter.Format(time.DateOnly))
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-early),
		NotAfter:              end,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:           usage,
	}, a.Cert, key, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Issued is a certificate in an authority's directory.
type Issued struct {
	File string
	Cert *x509.Certificate
}

// List is every certificate of the authority, its own first, then that of the
// witnesses, then those of the clusters by name.
func (a *Authority) List() ([]Issued, error) {
	out := []Issued{{File: CertFile, Cert: a.Cert}}
	names := []string{ServerCertFile}
	entries, err := os.ReadDir(filepath.Join(a.dir, issuedFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".crt") {
			names = append(names, filepath.Join(issuedFolder, e.Name()))
		}
	}
	slices.Sort(names[1:])
	for _, name := range names {
		cert, err := ReadCert(filepath.Join(a.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, Issued{File: name, Cert: cert})
	}
	return out, nil
}

// Warning is how long before its end a certificate is worth a word.
const Warning = 90 * 24 * time.Hour

// Expiry is a sentence about a certificate that has ended or will soon, or "".
func Expiry(cert *x509.Certificate, now time.Time) string {
	left := cert.NotAfter.Sub(now)
	switch day := cert.NotAfter.Format(time.DateOnly); {
	case left <= 0:
		return fmt.Sprintf("the certificate of %q ended on %s", cert.Subject.CommonName, day)
	case left < Warning:
		return fmt.Sprintf("the certificate of %q ends on %s, in %d days", cert.Subject.CommonName, day, int(left/(24*time.Hour)))
	}
	return ""
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // crypto/rand never fails on Linux
	}
	return n.Add(n, big.NewInt(1))
}

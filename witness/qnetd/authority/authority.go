package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Names of the files in an authority's directory.
const (
	CertFile       = "ca.crt"     // PEM; for the nodes and the witnesses
	KeyFile        = "ca.key"     // PEM, PKCS#8; the secret
	ServerCertFile = "server.crt" // PEM
	ServerKeyFile  = "server.key" // PEM, PKCS#8
	issuedFolder   = "issued"     // NAME.crt (PEM) for each cluster
)

// Lifetimes. Those of corosync-qnetd-certutil are a hundred years each.
const (
	caLife   = 30 * 365 * 24 * time.Hour
	leafLife = 10 * 365 * 24 * time.Hour
	// early is how far before its making a certificate begins: the nodes' clocks
	// differ, and a certificate from tomorrow is refused.
	early = 24 * time.Hour
)

// Name is the common name of an authority, as corosync-qnetd-certutil has it.
const Name = "QNet CA"

// ErrNone is returned by [Open] for a directory without an authority.
var ErrNone = errors.New("there is no authority")

// Authority signs certificates.
type Authority struct {
	Cert *x509.Certificate

	dir string
	key crypto.Signer
}

// Create makes an authority in dir, which is made if it is not there. It never
// replaces one: that would cut every cluster off.
func Create(dir string, now time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: Name},
		NotBefore:             now.Add(-early),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	// The key goes first: a certificate without its key would be handed out.
	if err := create(filepath.Join(dir, KeyFile), keyPEM, 0o600); err != nil {
		return nil, err
	}
	if err := create(filepath.Join(dir, CertFile), encodeCert(der), 0o644); err != nil {
		return nil, err
	}
	return Open(dir)
}

// Open opens the authority in dir. It may be a stock one, exported as PEM. A key
// that others than its owner can read is refused.
func Open(dir string) (*Authority, error) {
	keyPath, certPath := filepath.Join(dir, KeyFile), filepath.Join(dir, CertFile)
	info, err := os.Stat(keyPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s; `witnessctl qdevice ca --dir %s` makes one", ErrNone, dir, dir)
	}
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s is the key to every cluster, and its mode %04o lets others than its owner at it; `chmod 600` it, and ask who has read it",
			keyPath, mode)
	}
	key, err := readKey(keyPath)
	if err != nil {
		return nil, err
	}
	cert, err := ReadCert(certPath)
	switch {
	case err != nil:
		return nil, err
	case !cert.IsCA:
		return nil, fmt.Errorf("%s is not the certificate of an authority", certPath)
	case !samePublic(cert.PublicKey, key.Public()):
		return nil, fmt.Errorf("%s and %s do not belong together", certPath, keyPath)
	}
	return &Authority{Cert: cert, dir: dir, key: key}, nil
}

// PEM is the authority's certificate, as nodes and witnesses import it.
func (a *Authority) PEM() []byte { return encodeCert(a.Cert.Raw) }

func samePublic(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

func readKey(path string) (crypto.Signer, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	// openssl writes lines of its own before the block.
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if signer, is := key.(crypto.Signer); is {
				return signer, nil
			}
		}
		if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return key, nil
		}
		if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%s holds no private key in PEM without a password", path)
}

// ReadCert reads a certificate in PEM or DER.
func ReadCert(path string) (*x509.Certificate, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			raw = block.Bytes
			break
		}
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, fmt.Errorf("%s holds no certificate: %w", path, err)
	}
	return cert, nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// create writes a new file, never over one that is there.
func create(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// replace writes a file whole or not at all.
func replace(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

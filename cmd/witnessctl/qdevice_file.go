package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"quorate/witness/qnetd/authority"
)

// issue makes NAME.key and NAME.crt in the current folder. A key that is there
// already is replaced only if told to, and only once its successor is signed:
// it cannot be had again.
func issue(ca *authority.Authority, cluster string, over bool) (*x509.Certificate, error) {
	key, request, err := authority.NewKey(cluster)
	if err != nil {
		return nil, err
	}
	keyFile, fresh := cluster+".key", cluster+".key.new"
	if _, err := os.Lstat(keyFile); !over && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, fmt.Errorf("%s is there already; --replace replaces it, and its certificate with it", keyFile))
	}
	if err := secret(fresh, key); err != nil {
		return nil, err
	}
	cert, err := ca.Sign(request, over, time.Now())
	if err != nil {
		return nil, errors.Join(err, os.Remove(fresh))
	}
	if err := os.Rename(fresh, keyFile); err != nil {
		return nil, err
	}
	return cert, os.WriteFile(cluster+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o644)
}

// secret writes a new file that only its owner can read.
func secret(path string, data []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

package etcdapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"
)

// A token is base64url(expiry, fingerprint of the password hash, name), a dot, and
// base64url(HMAC-SHA256 of the former). Any node that has the secret can check it, no
// node keeps anything, and a changed password makes it worthless.

const (
	fingerprintBytes = 8
	tokenHead        = 8 + fingerprintBytes
)

var (
	errToken   = errors.New("not a token of this cluster")
	errExpired = errors.New("the token has expired, or its password was changed")
)

func sign(secret []byte, payload string) []byte {
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write([]byte("quorate etcd token 1\x00" + payload)) // it never fails
	return mac.Sum(nil)
}

func fingerprint(hash []byte) []byte {
	sum := sha256.Sum256(hash)
	return sum[:fingerprintBytes]
}

// issue makes a token for an account that is good until then.
func (a *authority) issue(acc *account, until time.Time) string {
	head := binary.BigEndian.AppendUint64(nil, uint64(until.Unix()))
	head = append(head, fingerprint(acc.hash)...)
	payload := base64.RawURLEncoding.EncodeToString(append(head, acc.name...))
	return payload + "." + base64.RawURLEncoding.EncodeToString(sign(a.secrets[0], payload))
}

// verify returns the account of a token. With errExpired it does so too.
func (a *authority) verify(token string, now time.Time) (*account, error) {
	payload, mac, _ := strings.Cut(token, ".")
	given, err := base64.RawURLEncoding.DecodeString(mac)
	if err != nil {
		return nil, errToken
	}
	genuine := false
	for _, secret := range a.secrets {
		genuine = genuine || hmac.Equal(given, sign(secret, payload))
	}
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if !genuine || err != nil || len(raw) < tokenHead {
		return nil, errToken
	}
	acc := a.users[string(raw[tokenHead:])]
	if acc == nil {
		return nil, errToken // the user was removed
	}
	until := int64(binary.BigEndian.Uint64(raw))
	if now.Unix() > until || !hmac.Equal(raw[8:tokenHead], fingerprint(acc.hash)) {
		return acc, errExpired
	}
	return acc, nil
}

package seal

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/curve25519"
	"golang.org/x/crypto/nacl/box"
	"golang.org/x/crypto/nacl/secretbox"

	"quorate/witness"
)

// keyFile holds the private key of a witness, in base64.
const keyFile = "secret.key"

const (
	keySize   = 32
	nonceSize = 24
)

type key = [keySize]byte

// pair is the key pair of a witness.
type pair struct{ private, public key }

func (p *pair) text() string { return base64.StdEncoding.EncodeToString(p.public[:]) }

// loadPair reads the key pair of a witness from its data directory; the first
// start makes it.
func loadPair(dir string) (*pair, error) {
	path := filepath.Join(dir, keyFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return makePair(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the witness's own key: %w", err)
	}
	var p pair
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(raw)))
	if err != nil || len(decoded) != keySize {
		return nil, fmt.Errorf("%s holds no key: restore it from a backup of this witness, or give the witness a new name and an empty data directory", path)
	}
	copy(p.private[:], decoded)
	public, err := curve25519.X25519(p.private[:], curve25519.Basepoint)
	if err != nil {
		return nil, fmt.Errorf("%s holds no usable key: %w", path, err)
	}
	copy(p.public[:], public)
	return &p, nil
}

func makePair(path string) (*pair, error) {
	public, private, err := box.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the witness's own key: %w", err)
	}
	p := &pair{*private, *public}
	text := base64.StdEncoding.EncodeToString(p.private[:]) + "\n"
	// Complete before it has its name: half a key would lock the witness out.
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write the witness's own key: %w", err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("write the witness's own key: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return nil, fmt.Errorf("write the witness's own key: %w", err)
	}
	return p, nil
}

// wrap seals a data key to the public key of a witness.
func wrap(data *key, public string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(public)
	if err != nil || len(raw) != keySize {
		return "", fmt.Errorf("%.60q is no public key of a witness", public)
	}
	var to key
	copy(to[:], raw)
	sealed, err := box.SealAnonymous(nil, data[:], &to, rand.Reader)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(sealed), nil
}

// unwrap opens a data key that was sealed to this witness.
func (p *pair) unwrap(text string) (*key, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("the data key is not readable")
	}
	opened, ok := box.OpenAnonymous(nil, raw, &p.public, &p.private)
	if !ok || len(opened) != keySize {
		return nil, errors.New("the data key was sealed to another key than this witness has: was its secret.key replaced?")
	}
	var out key
	copy(out[:], opened)
	return &out, nil
}

// content is what a sealed secret holds. It names its place, so that it cannot
// be put elsewhere.
type content struct {
	Device  string `json:"d"`
	Setting string `json:"s"`
	Value   string `json:"v"`
}

func sealValue(data *key, version uint64, c content) (string, error) {
	plain, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	var nonce [nonceSize]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return "", err
	}
	sealed := secretbox.Seal(nonce[:], plain, &nonce, data)
	return fmt.Sprintf("%s%d:%s", witness.SealedPrefix, version, base64.StdEncoding.EncodeToString(sealed)), nil
}

func openValue(data *key, device, setting, text string) (string, error) {
	_, encoded, _ := strings.Cut(strings.TrimPrefix(text, witness.SealedPrefix), ":")
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(raw) < nonceSize {
		return "", fmt.Errorf("%s is not readable: apply it again", setting)
	}
	var nonce [nonceSize]byte
	copy(nonce[:], raw)
	plain, ok := secretbox.Open(nil, raw[nonceSize:], &nonce, data)
	if !ok {
		return "", fmt.Errorf("%s cannot be opened with its data key: apply it again", setting)
	}
	var c content
	if err := json.Unmarshal(plain, &c); err != nil || c.Device != device || c.Setting != setting {
		return "", fmt.Errorf("%s was sealed for another place: apply it again", setting)
	}
	return c.Value, nil
}

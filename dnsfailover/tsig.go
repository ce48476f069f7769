package dnsfailover

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// Key is a secret that a secondary and this server share, RFC 8945.
type Key struct {
	Name      string // a domain name
	Algorithm string // hmac-sha256 (default), -sha224, -sha384, -sha512
	Secret    string // base64
}

// tsigAlgorithms are those that are accepted. RFC 8945 section 6 still asks for
// HMAC-SHA1 in implementations; nobody needs it for new keys.
var tsigAlgorithms = []string{dns.HmacSHA224, dns.HmacSHA256, dns.HmacSHA384, dns.HmacSHA512}

// keyring holds keys by canonical name.
type keyring map[string]Key

func newKeyring(keys []Key) (keyring, error) {
	ring := keyring{}
	var faults []error
	for _, k := range keys {
		k.Name, k.Algorithm = fqdn(k.Name), fqdn(k.Algorithm)
		if k.Algorithm == "." {
			k.Algorithm = dns.HmacSHA256
		}
		secret, err := base64.StdEncoding.DecodeString(k.Secret)
		switch {
		case checkName(k.Name, false) != nil:
			faults = append(faults, fmt.Errorf("TSIG key %q: %w", k.Name, checkName(k.Name, false)))
		case !slices.Contains(tsigAlgorithms, k.Algorithm):
			faults = append(faults, fmt.Errorf("TSIG key %s: algorithm %q is not one of hmac-sha224, hmac-sha256, hmac-sha384, hmac-sha512", k.Name, k.Algorithm))
		case err != nil || len(secret) < 16:
			faults = append(faults, fmt.Errorf("TSIG key %s: the secret is not base64 of at least 16 bytes; `tsig-keygen` and `keymgr -t` make one", k.Name))
		case ring[k.Name].Name != "":
			faults = append(faults, fmt.Errorf("TSIG key %s is configured twice", k.Name))
		}
		ring[k.Name] = k
	}
	return ring, errors.Join(faults...)
}

// signature is the TSIG of one query, and what its replies are signed with.
type signature struct {
	key   Key
	mac   string // of the query, then of the reply before
	fault uint16 // TSIG error; 0 for a good one
	first bool
	query *dns.TSIG
}

// signatureOf checks the TSIG of a query; nil if it has none.
func (ring keyring) signatureOf(msg []byte) *signature {
	if len(msg) < headerSize || msg[10] == 0 && msg[11] == 0 {
		return nil
	}
	var m dns.Msg
	if m.Unpack(msg) != nil {
		return nil // and will be answered with FORMERR
	}
	t := m.IsTsig()
	if t == nil {
		return nil
	}
	sig := &signature{query: t, mac: t.MAC, first: true}
	key, known := ring[fqdn(t.Hdr.Name)]
	if !known || fqdn(t.Algorithm) != key.Algorithm {
		sig.fault = dns.RcodeBadKey
		return sig
	}
	sig.key = key
	switch err := dns.TsigVerify(slices.Clone(msg), key.Secret, "", false); {
	case errors.Is(err, dns.ErrTime):
		sig.fault = dns.RcodeBadTime
	case err != nil:
		sig.fault = dns.RcodeBadSig
	}
	return sig
}

// room is what the signature of a reply needs at most, RFC 8945 section 4.2: two
// names, the fixed fields, the largest MAC, and the time of BADTIME.
func (sig *signature) room() int {
	if sig == nil {
		return 0
	}
	return len(sig.query.Hdr.Name) + len(sig.query.Algorithm) + 2 + 26 + 64 + 6
}

// sign adds the record to a reply. The replies of one transfer form a chain.
func (sig *signature) sign(reply *dns.Msg) ([]byte, error) {
	t := &dns.TSIG{
		Hdr:       dns.RR_Header{Name: sig.query.Hdr.Name, Rrtype: dns.TypeTSIG, Class: dns.ClassANY},
		Algorithm: sig.query.Algorithm, TimeSigned: uint64(time.Now().Unix()), Fudge: 300,
		OrigId: reply.Id, Error: sig.fault,
	}
	if sig.fault == dns.RcodeBadTime { // RFC 8945 section 5.2.3
		t.OtherLen, t.OtherData = 6, fmt.Sprintf("%012x", t.TimeSigned)
		t.TimeSigned = sig.query.TimeSigned
	}
	reply.Extra = append(reply.Extra, t)
	out, mac, err := dns.TsigGenerate(reply, sig.key.Secret, sig.mac, !sig.first)
	sig.mac, sig.first = mac, false
	return out, err
}

// refuse answers a query whose signature is not good: NOTAUTH, RFC 8945 section 5.2.
func (sig *signature) refuse(msg []byte) ([]byte, result) {
	var m dns.Msg
	if m.Unpack(msg) != nil {
		return headerOnly(msg, dns.RcodeFormatError, 0)
	}
	reply := new(dns.Msg)
	reply.Id, reply.Response, reply.Opcode, reply.Rcode, reply.Question = m.Id, true, m.Opcode, dns.RcodeNotAuth, m.Question
	res := result{qtype: "none", rcode: dns.RcodeNotAuth}
	if len(m.Question) == 1 {
		res.qtype = queryType(m.Question[0].Qtype)
	}
	out, err := sig.sign(reply)
	if err != nil {
		return headerOnly(msg, dns.RcodeServerFailure, 0)
	}
	return out, res
}

// signBytes signs a reply that is packed already.
func (sig *signature) signBytes(packed []byte) ([]byte, error) {
	var m dns.Msg
	if err := m.Unpack(packed); err != nil {
		return nil, err
	}
	m.Compress = true
	return sig.sign(&m)
}

package dnsfailover

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// SigningKey is a DNSSEC key of a zone. All witnesses have the same keys and sign for
// themselves: the signatures are deterministic (Ed25519, and ECDSA by RFC 6979), so
// that all of them serve the same bytes for the same state and day.
type SigningKey struct {
	// Private is the text of a private key file as BIND, Knot and ldns write it, of
	// algorithm 13 (ECDSAP256SHA256) or 15 (ED25519).
	Private string
	// SEP marks a key that the parent's DS record names: a key signing key, or the one
	// key for all (CSK).
	SEP bool
	// Published keys are in the DNSKEY set without signing: one that comes or goes in
	// a roll-over (RFC 7583).
	Published bool
}

// How long signatures are valid, counted from the begin of the day of Zone.SignedAt, so
// that changes of one day share their signatures. Inception lies before that for clocks
// that are slow. Whoever makes views moves SignedAt on long before SignatureLife is over.
const (
	SignatureLife = 14 * 24 * time.Hour

	signPeriod   = 24 * time.Hour
	signBackdate = 6 * time.Hour
)

// zoneSigner signs the sets of one zone.
type zoneSigner struct {
	apex    string
	keys    []loadedKey
	period  uint32 // begin of the signing period, Unix seconds
	cache   *signatureCache
	dnskeys []dns.RR
}

type loadedKey struct {
	SigningKey
	record *dns.DNSKEY
	signer crypto.Signer
	tag    uint16
}

// deterministic signs without a source of randomness.
type deterministic struct{ crypto.Signer }

// Sign implements crypto.Signer. With a nil source ECDSA signs by RFC 6979.
func (d deterministic) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return d.Signer.Sign(nil, digest, opts)
}

// load reads a key for a zone.
func (k SigningKey) load(apex string, ttl uint32) (loadedKey, error) {
	record := &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: apex, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: ttl},
		Flags: dns.ZONE, Protocol: 3,
	}
	if k.SEP {
		record.Flags |= dns.SEP
	}
	algorithm, raw, err := parsePrivateKey(k.Private)
	if err != nil {
		return loadedKey{}, err
	}
	record.Algorithm = algorithm
	var public []byte
	var signer crypto.Signer
	switch {
	case algorithm == dns.ECDSAP256SHA256:
		private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
		if err != nil {
			return loadedKey{}, fmt.Errorf("it is no key of P-256: %w", err)
		}
		point, err := private.PublicKey.Bytes()
		if err != nil {
			return loadedKey{}, fmt.Errorf("it is no key of P-256: %w", err)
		}
		public, signer = point[1:], private // RFC 6605 section 4: without the leading byte
	case algorithm == dns.ED25519 && len(raw) == ed25519.SeedSize:
		private := ed25519.NewKeyFromSeed(raw)
		public, signer = private.Public().(ed25519.PublicKey), private
	default:
		return loadedKey{}, errors.New("it is not of algorithm 13 (ECDSAP256SHA256) or 15 (ED25519)")
	}
	record.PublicKey = base64.StdEncoding.EncodeToString(public)
	return loadedKey{SigningKey: k, record: record, signer: deterministic{signer}, tag: record.KeyTag()}, nil
}

// parsePrivateKey reads a private key file of BIND's format v1.
func parsePrivateKey(text string) (algorithm uint8, key []byte, err error) {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	if !strings.HasPrefix(fields["Private-key-format"], "v1.") {
		return 0, nil, errors.New("it is no private key file: the line Private-key-format: v1.x is missing")
	}
	number, _, _ := strings.Cut(fields["Algorithm"], " ")
	n, err := strconv.ParseUint(number, 10, 8)
	if err != nil {
		return 0, nil, fmt.Errorf("its algorithm %q is not a number", fields["Algorithm"])
	}
	if key, err = base64.StdEncoding.DecodeString(fields["PrivateKey"]); err != nil {
		return 0, nil, errors.New("its PrivateKey is not base64") // without the key in the message
	}
	return uint8(n), key, nil
}

// NewSigningKey makes a key of algorithm 13 for a zone.
func NewSigningKey(zone string, sep bool) (SigningKey, error) {
	record := &dns.DNSKEY{Hdr: dns.RR_Header{Name: fqdn(zone)}, Flags: dns.ZONE, Protocol: 3, Algorithm: dns.ECDSAP256SHA256}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return SigningKey{}, err
	}
	return SigningKey{Private: record.PrivateKeyString(private), SEP: sep}, nil
}

// DS returns the DS record (SHA-256) that the parent zone needs for a key.
func (k SigningKey) DS(zone string) (string, error) {
	loaded, err := k.load(fqdn(zone), DefaultNSTTL)
	if err != nil {
		return "", err
	}
	return loaded.record.ToDS(dns.SHA256).String(), nil
}

// newZoneSigner loads the keys of a zone; nil if it has none.
func newZoneSigner(z *Zone, cache *signatureCache) (*zoneSigner, error) {
	if len(z.Keys) == 0 {
		return nil, nil
	}
	zs := &zoneSigner{apex: fqdn(z.Name), period: uint32(z.SignedAt.Truncate(signPeriod).Unix()), cache: cache}
	var faults []error
	sep, signs := false, false
	for i, k := range z.Keys {
		loaded, err := k.load(zs.apex, z.NSTTL)
		if err != nil {
			faults = append(faults, fmt.Errorf("zone %s: key %d: %w", zs.apex, i+1, err))
			continue
		}
		zs.keys = append(zs.keys, loaded)
		zs.dnskeys = append(zs.dnskeys, loaded.record)
		sep = sep || k.SEP && !k.Published
		signs = signs || !k.Published
	}
	if len(faults) == 0 && (!sep || !signs) {
		faults = append(faults, fmt.Errorf("zone %s: no key with sep signs: the parent's DS record would name nothing", zs.apex))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return zs, nil
}

// signers returns the keys that sign a type: key signing keys sign the keys, zone
// signing keys all else; without zone signing keys one key does it all.
func (zs *zoneSigner) signers(typ uint16) []*loadedKey {
	var sep, zone []*loadedKey
	for i := range zs.keys {
		switch k := &zs.keys[i]; {
		case k.Published:
		case k.SEP:
			sep = append(sep, k)
		default:
			zone = append(zone, k)
		}
	}
	if typ == dns.TypeDNSKEY || typ == dns.TypeCDS || typ == dns.TypeCDNSKEY || len(zone) == 0 {
		return sep
	}
	return zone
}

// keySets returns the DNSKEY, CDS and CDNSKEY sets of the apex (RFC 7344, 8078).
func (zs *zoneSigner) keySets(ttl uint32) []*set {
	var cds, cdnskey []dns.RR
	for i := range zs.keys {
		if k := &zs.keys[i]; k.SEP && !k.Published {
			cds = append(cds, k.record.ToDS(dns.SHA256).ToCDS())
			cdnskey = append(cdnskey, k.record.ToCDNSKEY())
		}
	}
	for _, rr := range cds {
		rr.Header().Ttl = ttl
	}
	for _, rr := range cdnskey {
		rr.Header().Ttl = ttl
	}
	return []*set{
		{typ: dns.TypeDNSKEY, rrs: zs.dnskeys}, {typ: dns.TypeCDS, rrs: cds}, {typ: dns.TypeCDNSKEY, rrs: cdnskey},
	}
}

// sign returns the signatures of a set.
func (zs *zoneSigner) sign(rrs []dns.RR) ([]dns.RR, error) {
	if len(rrs) == 0 {
		return nil, nil
	}
	var out []dns.RR
	for _, k := range zs.signers(rrs[0].Header().Rrtype) {
		sig, err := zs.cache.get(zs, k, rrs)
		if err != nil {
			return nil, fmt.Errorf("zone %s: signing %s %s: %w", zs.apex, rrs[0].Header().Name, typeName(rrs[0].Header().Rrtype), err)
		}
		out = append(out, sig)
	}
	return out, nil
}

func (zs *zoneSigner) signWith(k *loadedKey, rrs []dns.RR) (*dns.RRSIG, error) {
	sig := &dns.RRSIG{
		Hdr:       dns.RR_Header{Ttl: rrs[0].Header().Ttl},
		Algorithm: k.record.Algorithm, KeyTag: k.tag, SignerName: zs.apex,
		Inception:  zs.period - uint32(signBackdate/time.Second),
		Expiration: zs.period + uint32(SignatureLife/time.Second),
	}
	return sig, sig.Sign(k.signer, rrs)
}

// signatureCache keeps signatures from one view to the next: a change costs what has
// changed, not the zone. What was not used for two views is forgotten.
type signatureCache struct {
	mu        sync.Mutex
	now, last map[string]*dns.RRSIG
}

// next begins a new view.
func (c *signatureCache) next() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.now = c.now, make(map[string]*dns.RRSIG, len(c.now))
}

func (c *signatureCache) get(zs *zoneSigner, k *loadedKey, rrs []dns.RR) (*dns.RRSIG, error) {
	if c == nil {
		return zs.signWith(k, rrs)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %d %s\n", zs.apex, zs.period, k.tag, k.record.PublicKey)
	for _, rr := range rrs {
		b.WriteString(rr.String())
		b.WriteByte('\n')
	}
	key := b.String()
	c.mu.Lock()
	sig := c.now[key]
	if sig == nil {
		sig = c.last[key]
	}
	c.mu.Unlock()
	if sig == nil {
		var err error
		if sig, err = zs.signWith(k, rrs); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil {
		c.now = map[string]*dns.RRSIG{}
	}
	c.now[key] = sig
	return sig, nil
}

// signZone signs every set and links the names by NSEC records (RFC 4034 section 4):
// the names of a zone here are few and known, so nothing is signed when a query comes.
func (z *zoneIndex) signZone(zs *zoneSigner, ttl, negativeTTL uint32) error {
	apex := z.nodes[z.apex]
	apex.sets = append(apex.sets, zs.keySets(ttl)...)
	z.owners = nil
	for name, n := range z.nodes {
		if len(n.sets) > 0 && len(n.types()) == 0 {
			// All records of a managed name are withdrawn. It needs one, or there would be
			// no NSEC record that can deny the others (RFC 4035 section 2.3).
			n.sets = append(n.sets, &set{typ: dns.TypeTXT, rrs: []dns.RR{&dns.TXT{
				Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: negativeTTL}, Txt: []string{"withdrawn"},
			}}})
		}
		if len(n.sets) > 0 {
			z.owners = append(z.owners, name)
		}
	}
	slices.SortFunc(z.owners, compareNames)
	for i, name := range z.owners {
		n := z.nodes[name]
		types := append(n.types(), dns.TypeRRSIG, dns.TypeNSEC)
		slices.Sort(types)
		n.sets = append(n.sets, &set{typ: dns.TypeNSEC, rrs: []dns.RR{&dns.NSEC{
			Hdr:        dns.RR_Header{Name: name, Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: negativeTTL},
			NextDomain: z.owners[(i+1)%len(z.owners)], TypeBitMap: types,
		}}})
	}
	var faults []error
	for _, n := range z.nodes {
		slices.SortFunc(n.sets, func(a, b *set) int { return int(a.typ) - int(b.typ) })
		for _, s := range n.sets {
			var err, fixed error
			s.sigs, err = zs.sign(s.rrs)
			s.fallbackSigs, fixed = zs.sign(s.fallback)
			faults = append(faults, err, fixed)
		}
	}
	z.signed = true
	z.negSigs = copies(apex.find(dns.TypeSOA).sigs)
	for _, rr := range z.negSigs {
		rr.Header().Ttl = z.negSOA.Header().Ttl
	}
	return errors.Join(faults...)
}

func copies(rrs []dns.RR) []dns.RR {
	out := make([]dns.RR, len(rrs))
	for i, rr := range rrs {
		out[i] = dns.Copy(rr)
	}
	return out
}

// types returns what a node in touch with the quorum answers for this name.
func (n *node) types() []uint16 {
	var out []uint16
	for _, s := range n.sets {
		if len(s.rrs) > 0 || s.whenEmpty == PolicyFixed && len(s.fallback) > 0 {
			out = append(out, s.typ)
		}
	}
	return out
}

// denial returns the NSEC record at or before a name, with its signature.
func (z *zoneIndex) denial(name string) []dns.RR {
	at, exact := slices.BinarySearchFunc(z.owners, name, compareNames)
	if !exact {
		at = (at + len(z.owners) - 1) % len(z.owners)
	}
	s := z.nodes[z.owners[at]].find(dns.TypeNSEC)
	return append(slices.Clone(s.rrs), s.sigs...)
}

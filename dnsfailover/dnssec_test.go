package dnsfailover

import (
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// testKeys are fixed, so that a test is the same each time.
func testKeys(t testing.TB) []SigningKey {
	t.Helper()
	return []SigningKey{{SEP: true, Private: "Private-key-format: v1.3\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=\n"}}
}

// signedView is the zone of the other tests, signed.
func signedView(t testing.TB, at time.Time, keys []SigningKey, clusters ...ClusterView) *View {
	t.Helper()
	zones := benchZones()
	for i := range zones {
		zones[i].Keys, zones[i].SignedAt = keys, at
	}
	return mustBuild(t, zones, clusters...)
}

// mustVerify checks every signature of a section against the zone's keys.
func mustVerify(t testing.TB, ix *index, at time.Time, rrs []dns.RR) (sets int) {
	t.Helper()
	type id struct {
		name string
		typ  uint16
	}
	groups := map[id][]dns.RR{}
	var sigs []*dns.RRSIG
	for _, rr := range rrs {
		if sig, ok := rr.(*dns.RRSIG); ok {
			sigs = append(sigs, sig)
			continue
		}
		if rr.Header().Rrtype != dns.TypeOPT {
			key := id{strings.ToLower(rr.Header().Name), rr.Header().Rrtype}
			groups[key] = append(groups[key], rr)
		}
	}
	signed := map[id]bool{}
	for _, sig := range sigs {
		key := id{strings.ToLower(sig.Header().Name), sig.TypeCovered}
		for _, rr := range ix.zones[sig.SignerName].nodes[sig.SignerName].find(dns.TypeDNSKEY).rrs {
			dnskey := rr.(*dns.DNSKEY)
			if dnskey.KeyTag() != sig.KeyTag {
				continue
			}
			if err := sig.Verify(dnskey, groups[key]); err != nil {
				t.Errorf("signature of %v: %v", key, err)
			}
			if !sig.ValidityPeriod(at) {
				t.Errorf("signature of %v is not valid now: %s", key, sig)
			}
			signed[key] = true
		}
	}
	for key := range groups {
		if !signed[key] {
			t.Errorf("%v is not signed", key)
		}
	}
	return len(groups)
}

func TestEverythingIsSigned(t *testing.T) {
	at := time.Date(2026, 11, 25, 22, 0, 0, 0, time.UTC)
	ix, err := compile(signedView(t, at, testKeys(t), benchCluster()), nil)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"nx.example.test.", "x.wild.example.test.", "a.b.nx.example.test.", "EXAMPLE.test."}
	for name := range ix.names {
		names = append(names, name)
	}
	for _, name := range names {
		for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeSOA, dns.TypeMX, dns.TypeDNSKEY, dns.TypeCDS, dns.TypeNSEC, dns.TypeANY, dns.TypeSRV} {
			if ix.zoneOf(fqdn(name)) == nil {
				continue
			}
			a := resolve(ix, 0, dns.Question{Name: name, Qtype: typ, Qclass: dns.ClassINET}, true)
			if a.rcode != dns.RcodeSuccess && a.rcode != dns.RcodeNameError {
				continue
			}
			if mustVerify(t, ix, at, a.answer)+mustVerify(t, ix, at, a.authority) == 0 {
				t.Errorf("%s %s: nothing", name, typeName(typ))
			}
			plain := resolve(ix, 0, dns.Question{Name: name, Qtype: typ, Qclass: dns.ClassINET}, false)
			for _, rr := range append(plain.answer, plain.authority...) {
				if rr.Header().Rrtype == dns.TypeRRSIG || rr.Header().Rrtype == dns.TypeNSEC && typ != dns.TypeNSEC && typ != dns.TypeANY {
					t.Errorf("%s %s without DO: %s", name, typeName(typ), rr)
				}
			}
		}
	}
}

// All witnesses sign for themselves and must come to the same bytes; a change costs
// the signatures of what has changed.
func TestSignaturesAreDeterministicAndKept(t *testing.T) {
	at := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	cache := &signatureCache{}
	cache.next()
	one, err := compile(signedView(t, at, testKeys(t), benchCluster()), cache)
	if err != nil {
		t.Fatal(err)
	}
	other, err := compile(signedView(t, at.Add(5*time.Hour), testKeys(t), benchCluster()), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, b := one.zones["example.test."].records(), other.zones["example.test."].records()
	if removed, added := difference(a, b); len(removed)+len(added) > 0 {
		t.Errorf("two witnesses differ: %v %v", removed, added)
	}
	before := len(cache.now)
	cache.next()
	moved := benchCluster()
	moved.Epoch++
	if _, err := compile(signedView(t, at, testKeys(t), moved), cache); err != nil {
		t.Fatal(err)
	}
	fresh := 0
	for key := range cache.now {
		if cache.last[key] == nil {
			fresh++
		}
	}
	if before < 20 || fresh == 0 || fresh > 3 {
		t.Errorf("%d signatures at first, %d new ones after the epoch changed", before, fresh)
	}
	next, err := compile(signedView(t, at.Add(24*time.Hour), testKeys(t), benchCluster()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if removed, _ := difference(a, next.zones["example.test."].records()); len(removed) < 20 {
		t.Errorf("only %d records changed on the next day", len(removed))
	}
}

// A roll-over of a zone signing key, and of the key that the parent knows.
func TestRollOver(t *testing.T) {
	at := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	ksk := testKeys(t)[0]
	var keys [4]SigningKey
	for i := range keys {
		var err error
		if keys[i], err = NewSigningKey("example.test", i == 3); err != nil {
			t.Fatal(err)
		}
	}
	zsk1, zsk2, ksk2 := keys[0], keys[1], keys[3]
	published := func(k SigningKey) SigningKey { k.Published = true; return k }
	for name, tt := range map[string]struct {
		keys         []SigningKey
		dnskeys, ofA int // keys in the set, signatures of an A set
		ofKeys       int
	}{
		"one key for all":            {[]SigningKey{ksk}, 1, 1, 1},
		"two kinds":                  {[]SigningKey{ksk, zsk1}, 2, 1, 1},
		"the new zone key is known":  {[]SigningKey{ksk, zsk1, published(zsk2)}, 3, 1, 1},
		"it signs":                   {[]SigningKey{ksk, published(zsk1), zsk2}, 3, 1, 1},
		"both key signing keys sign": {[]SigningKey{ksk, ksk2, zsk2}, 3, 1, 2},
	} {
		ix, err := compile(signedView(t, at, tt.keys, benchCluster()), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		z := ix.zones["example.test."]
		set, www := z.nodes["example.test."].find(dns.TypeDNSKEY), z.nodes["primary.pg.example.test."].find(dns.TypeA)
		if len(set.rrs) != tt.dnskeys || len(set.sigs) != tt.ofKeys || len(www.sigs) != tt.ofA {
			t.Errorf("%s: %d keys with %d signatures, %d of an A set", name, len(set.rrs), len(set.sigs), len(www.sigs))
		}
		mustVerify(t, ix, at, z.records())
	}
	for name, bad := range map[string][]SigningKey{
		"no key with sep": {zsk1},
		"none signs":      {published(ksk)},
		"not a key":       {{SEP: true, Private: "hello"}},
		"RSA":             {{SEP: true, Private: "Private-key-format: v1.3\nAlgorithm: 8 (RSASHA256)\n"}},
	} {
		if _, err := compile(signedView(t, at, bad, benchCluster()), nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if ds, err := ksk.DS("example.test"); err != nil || !strings.Contains(ds, "DS") {
		t.Errorf("DS %q, %v", ds, err)
	}
}

// The fast path answers signed queries as the slow path does.
func TestFastPathAgreesOnASignedZone(t *testing.T) {
	source := new(StaticSource)
	source.Set(signedView(t, time.Now(), testKeys(t), benchCluster()))
	s, err := NewServer(Config{Addrs: []string{"127.0.0.1:0"}, Source: source, ID: "w1"})
	if err != nil {
		t.Fatal(err)
	}
	s.publish(source.View())
	took, all := 0, 0
	names := []string{"nx.example.test.", "x.wild.example.test."}
	for name := range s.current.Load().ix.names {
		names = append(names, name, strings.ToUpper(name))
	}
	for _, name := range names {
		for _, typ := range append(tallyTypes[:], dns.TypeNSEC, 65280) {
			for _, variant := range []int{0, 2 | 32, 2 | 4 | 32, 2 | 4 | 16, 2 | 4 | 8 | 48} {
				all++
				if compareFast(t, s, queryFor(t, name, typ, variant)) {
					took++
				}
			}
		}
	}
	if took < all/2 {
		t.Errorf("%d of %d queries took the fast path", took, all)
	}
}

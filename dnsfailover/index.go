package dnsfailover

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// index is a View made ready for look-ups. It is immutable: the records in it
// are shared by all answers and must be copied before they are changed.
type index struct {
	view  *View
	zones map[string]*zoneIndex // by canonical apex name
	names map[string]*node      // all of them, by canonical name
}

type zoneIndex struct {
	apex   string
	negSOA dns.RR // the SOA record with the TTL of a negative answer
	nodes  map[string]*node
	// maxStale is the shortest MaxStale of the managed sets, 0 without any: after
	// it this node cannot know which names exist.
	maxStale time.Duration
	negative []byte // negSOA on the wire, without its owner
	signed   bool
	owners   []string // of NSEC records, in canonical order
	negSigs  []dns.RR // of negSOA
	hash     uint64   // of the apex, for the rate limit
}

// node is one existing name: an empty non-terminal has no sets.
type node struct {
	name     string
	zone     *zoneIndex
	alias    bool // it has a CNAME
	wildcard bool // there is a name * below it
	ready    prebuiltSets
	sets     []*set // ascending by type
	// strict is the managed set with the shortest MaxStale, nil without any.
	strict *set
}

type set struct {
	typ                uint16
	rrs                []dns.RR
	fallback           []dns.RR
	sigs, fallbackSigs []dns.RR
	managed            bool
	cluster            string
	whenEmpty          Policy
	maxStale           time.Duration
	whenStale          Policy
	// broken: a value did not parse. The set is answered with SERVFAIL, because
	// what remains of it might be misleading.
	broken bool
}

func (n *node) find(typ uint16) *set {
	for _, s := range n.sets {
		if s.typ == typ {
			return s
		}
	}
	return nil
}

// compile makes the index of v. It always returns an index that can be served;
// the error, if any, joins the faults that it found and what became of them.
//
// cache holds signatures that were made before; it may be nil.
func compile(v *View, cache *signatureCache) (*index, error) {
	ix := &index{view: v, zones: make(map[string]*zoneIndex, len(v.Zones))}
	var faults []error
	for i := range v.Zones {
		z, err := compileZone(&v.Zones[i], cache)
		if err != nil {
			faults = append(faults, err)
		}
		if z == nil {
			continue
		}
		if ix.zones[z.apex] != nil {
			faults = append(faults, fmt.Errorf("zone %s appears twice in the view; the first one is served", z.apex))
			continue
		}
		ix.zones[z.apex] = z
	}
	ix.gather()
	return ix, errors.Join(faults...)
}

// gather makes one table of the names of all zones. A name at or below the apex of
// a longer zone belongs to that one.
func (ix *index) gather() {
	size := 0
	for _, z := range ix.zones {
		size += len(z.nodes)
	}
	ix.names = make(map[string]*node, size)
	for _, z := range ix.zones {
		for name, n := range z.nodes {
			if ix.zoneOf(name) != z {
				continue
			}
			n.name, n.zone, n.alias, n.wildcard = name, z, n.find(dns.TypeCNAME) != nil, z.nodes["*."+name] != nil
			ix.names[name] = n
		}
	}
}

func compileZone(spec *Zone, cache *signatureCache) (*zoneIndex, error) {
	apex := fqdn(spec.Name)
	if err := checkName(apex, false); err != nil {
		return nil, fmt.Errorf("zone %q is not served: %w", spec.Name, err)
	}
	z := &zoneIndex{apex: apex, nodes: make(map[string]*node)}
	var faults []error
	for _, rs := range apexSets(spec) {
		if err := z.add(rs); err != nil {
			faults = append(faults, err)
		}
	}
	soa := z.nodes[apex].find(dns.TypeSOA)
	if soa.broken {
		return nil, fmt.Errorf("zone %s is not served: %w", apex, errors.Join(faults...))
	}
	z.negSOA = dns.Copy(soa.rrs[0])
	z.negSOA.Header().Ttl = min(spec.TTL, spec.NegativeTTL)
	z.negative = packNegative(z.negSOA)
	z.hash = maphash.String(limitSeed, apex)
	for i := range spec.Records {
		if err := z.add(&spec.Records[i]); err != nil {
			faults = append(faults, err)
		}
	}
	signer, err := newZoneSigner(spec, cache)
	if err != nil {
		return nil, fmt.Errorf("zone %s is not served, as resolvers would take unsigned answers for forged: %w", apex, err)
	}
	if signer != nil {
		if err := z.signZone(signer, spec.NSTTL, z.negSOA.Header().Ttl); err != nil {
			return nil, err
		}
	}
	return z, errors.Join(faults...)
}

// apexSets returns the SOA and NS sets of a zone and the addresses of those name
// servers that lie inside it.
func apexSets(z *Zone) []*RRset {
	apex := fqdn(z.Name)
	mname, admin := apex, fqdn(z.Admin)
	if len(z.NS) > 0 {
		mname = fqdn(z.NS[0].Name)
	}
	if z.Admin == "" {
		admin = "hostmaster." + apex
	}
	// REFRESH, RETRY, EXPIRE: for secondaries; RFC 1912 section 2.2 gives the ranges.
	soa := fmt.Sprintf("%s %s %d 1200 180 1209600 %d", mname, admin, z.Serial, z.NegativeTTL)
	ns := &RRset{Name: apex, Type: dns.TypeNS, TTL: z.NSTTL}
	sets := []*RRset{{Name: apex, Type: dns.TypeSOA, TTL: z.TTL, Values: []string{soa}}, ns}
	for _, n := range z.NS {
		name := fqdn(n.Name)
		ns.Values = append(ns.Values, name)
		if !within(name, apex) {
			continue
		}
		a := &RRset{Name: name, Type: dns.TypeA, TTL: z.NSTTL}
		aaaa := &RRset{Name: name, Type: dns.TypeAAAA, TTL: z.NSTTL}
		for _, addr := range n.Addrs {
			if addr = addr.Unmap(); addr.Is4() {
				a.Values = append(a.Values, addr.String())
			} else {
				aaaa.Values = append(aaaa.Values, addr.WithZone("").String())
			}
		}
		sets = append(sets, a, aaaa)
	}
	return sets
}

// add puts one set into the zone and makes its name and all names between it and
// the apex exist.
func (z *zoneIndex) add(rs *RRset) error {
	name := fqdn(rs.Name)
	if !within(name, z.apex) {
		return fmt.Errorf("zone %s: record %s %s lies outside the zone and is not served", z.apex, name, typeName(rs.Type))
	}
	n := z.ensure(name)
	if n.find(rs.Type) != nil {
		return fmt.Errorf("zone %s: %s %s appears twice in the view; the first one is served", z.apex, name, typeName(rs.Type))
	}
	s := &set{
		typ: rs.Type, managed: rs.Managed, cluster: rs.Cluster,
		whenEmpty: rs.WhenEmpty, maxStale: rs.MaxStale, whenStale: rs.WhenStale,
	}
	if s.maxStale <= 0 {
		s.maxStale = DefaultMaxStale
	}
	var err, fallbackErr error
	s.rrs, err = parseValues(z.apex, name, rs.Type, rs.TTL, rs.Values)
	s.fallback, fallbackErr = parseValues(z.apex, name, rs.Type, rs.TTL, rs.Fallback)
	err = errors.Join(err, fallbackErr)
	s.broken = err != nil
	if len(rs.Values) == 0 && !rs.Managed {
		return nil // the name exists, the type does not
	}
	n.sets = append(n.sets, s)
	slices.SortFunc(n.sets, func(a, b *set) int { return int(a.typ) - int(b.typ) })
	if s.managed {
		if n.strict == nil || s.maxStale < n.strict.maxStale {
			n.strict = s
		}
		if z.maxStale == 0 || s.maxStale < z.maxStale {
			z.maxStale = s.maxStale
		}
	}
	if err != nil {
		return fmt.Errorf("zone %s: %s %s is answered with SERVFAIL: %w", z.apex, name, typeName(rs.Type), err)
	}
	return nil
}

func (z *zoneIndex) ensure(name string) *node {
	n := z.nodes[name]
	if n != nil {
		return n
	}
	n = &node{}
	z.nodes[name] = n
	if name != z.apex {
		z.ensure(parent(name))
	}
	return n
}

func parseValues(zone, name string, typ uint16, ttl uint32, values []string) ([]dns.RR, error) {
	var rrs []dns.RR
	var faults []error
	for _, v := range values {
		rr, err := parseValue(zone, name, typ, ttl, v)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if slices.ContainsFunc(rrs, func(o dns.RR) bool { return dns.IsDuplicate(o, rr) }) {
			continue // RFC 2181 section 5: a set has no duplicates
		}
		rrs = append(rrs, rr)
	}
	return rrs, errors.Join(faults...)
}

// parseValue makes a record from presentation rdata; names in it without a final
// dot are relative to zone. Types that this build does not know are written as
// RFC 3597 says: \# length hex.
func parseValue(zone, name string, typ uint16, ttl uint32, value string) (dns.RR, error) {
	header := dns.RR_Header{Name: name, Rrtype: typ, Class: dns.ClassINET, Ttl: ttl}
	switch typ {
	case dns.TypeA:
		addr, err := netip.ParseAddr(value)
		if err != nil || !addr.Is4() {
			return nil, fmt.Errorf("value %q is not an IPv4 address", value)
		}
		return &dns.A{Hdr: header, A: addr.AsSlice()}, nil
	case dns.TypeAAAA:
		addr, err := netip.ParseAddr(value)
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return nil, fmt.Errorf("value %q is not an IPv6 address", value)
		}
		return &dns.AAAA{Hdr: header, AAAA: addr.AsSlice()}, nil
	}
	if strings.ContainsAny(value, "\r\n") {
		return nil, fmt.Errorf("value %q has a line break", value)
	}
	line := fmt.Sprintf("%s %d IN %s %s\n", name, ttl, typeName(typ), value)
	zp := dns.NewZoneParser(strings.NewReader(line), zone, "")
	rr, ok := zp.Next()
	if err := zp.Err(); err != nil {
		return nil, fmt.Errorf("value %q: %w", value, err)
	}
	if !ok || rr.Header().Rrtype != typ {
		return nil, fmt.Errorf("value %q is not the data of a %s record", value, typeName(typ))
	}
	// A record that parses may still not fit on the wire (miekg/dns checks late).
	if _, err := dns.PackRR(rr, make([]byte, 2*dns.Len(rr)+64), 0, nil, false); err != nil {
		return nil, fmt.Errorf("value %q: %w", value, err)
	}
	return rr, nil
}

// typeName returns the mnemonic of a type, or TYPEnnn (RFC 3597).
func typeName(typ uint16) string {
	return dns.Type(typ).String()
}

package dnsfailover

import (
	"fmt"
	"time"

	"github.com/miekg/dns"
)

const (
	// staleNotice is the contact age from which answers from managed sets carry
	// EDE 3 (stale answer): well above a leader's heartbeat, well below MaxStale.
	staleNotice = 2 * time.Second
	// maxChain bounds the CNAMEs followed for one question, so that a loop ends.
	maxChain = 8
)

// extendedError is an RFC 8914 extended error; nil stands for none.
type extendedError struct {
	code uint16
	text string
}

// answer is the content of a reply, without anything that depends on the
// transport or on the query's header.
type answer struct {
	rcode         int
	authoritative bool
	answer        []dns.RR
	authority     []dns.RR
	additional    []dns.RR
	ede           *extendedError
}

// resolve answers one question of class IN from one index. age is how long ago
// this node had quorum contact; do asks for DNSSEC records (RFC 3225). It is a pure
// function: the same index, age and question give the same answer.
func resolve(ix *index, age time.Duration, q dns.Question, do bool) answer {
	if ix == nil {
		return answer{rcode: dns.RcodeServerFailure, ede: &extendedError{dns.ExtendedErrorCodeNotReady, "no state yet"}}
	}
	name := fqdn(q.Name)
	z := ix.zoneOf(name)
	if z == nil {
		return answer{rcode: dns.RcodeRefused, ede: &extendedError{dns.ExtendedErrorCodeNotAuthoritative, ""}}
	}
	if q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR {
		return answer{rcode: dns.RcodeRefused, ede: &extendedError{dns.ExtendedErrorCodeProhibited, "no transfers"}}
	}
	r := resolution{ix: ix, age: age, do: do}
	r.out.authoritative = true
	owner := q.Name // as asked: the reply keeps the query's case
	for range maxChain {
		next := r.step(z, owner, name, q.Qtype)
		if next == "" {
			break
		}
		owner, name = next, fqdn(next)
		if z = ix.zoneOf(name); z == nil {
			break // the target is somebody else's: the resolver goes on there
		}
	}
	return r.out
}

// zoneOf returns the zone with the longest apex at or above name, nil if none.
func (ix *index) zoneOf(name string) *zoneIndex {
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		if z := ix.zones[name[off:]]; z != nil {
			return z
		}
	}
	return nil
}

type resolution struct {
	ix  *index
	age time.Duration
	do  bool
	out answer
}

// step answers for one name, and returns the target to go on with if that name is
// an alias, or "".
func (r *resolution) step(z *zoneIndex, owner, name string, qtype uint16) (next string) {
	n, ok := z.lookup(name)
	if !ok {
		r.nxdomain(z, name)
		return ""
	}
	s := n.find(qtype)
	switch {
	case qtype == dns.TypeANY:
		s = n.any() // RFC 8482 section 4.1: one set is enough
	case s == nil && qtype != dns.TypeCNAME:
		if alias := n.find(dns.TypeCNAME); alias != nil {
			s = alias
		}
	}
	rrs, sigs, ok := r.judge(n, s)
	if !ok {
		r.fail()
		return ""
	}
	if len(rrs) == 0 {
		r.negative(z, name)
		return ""
	}
	r.out.answer = append(r.out.answer, owned(rrs, owner, name)...)
	if r.do && z.signed {
		r.out.answer = append(r.out.answer, owned(sigs, owner, name)...)
		if z.nodes[name] == nil { // from a wildcard: the name itself must be shown not to exist
			r.out.authority = append(r.out.authority, z.denial(name)...)
		}
	}
	if cname, ok := rrs[0].(*dns.CNAME); ok && qtype != dns.TypeCNAME && qtype != dns.TypeANY {
		return cname.Target
	}
	r.addAdditional(rrs)
	return ""
}

// lookup returns the node that answers for name: the name's own, or that of the
// wildcard below its closest encloser (RFC 4592).
func (z *zoneIndex) lookup(name string) (*node, bool) {
	if n := z.nodes[name]; n != nil {
		return n, true
	}
	for off, end := dns.NextLabel(name, 0); !end; off, end = dns.NextLabel(name, off) {
		encloser := name[off:]
		if z.nodes[encloser] == nil {
			continue
		}
		n := z.nodes["*."+encloser]
		return n, n != nil
	}
	return nil, false
}

// any picks the set that answers a query for ANY: the first that has records,
// else the first.
func (n *node) any() *set {
	for _, s := range n.sets {
		if len(s.rrs) > 0 {
			return s
		}
	}
	if len(n.sets) > 0 {
		return n.sets[0]
	}
	return nil
}

// judge returns the records that may be answered now from s, a set of n or nil.
// With ok false the answer is SERVFAIL. It notes an extended error in r.out.
func (r *resolution) judge(n *node, s *set) (rrs, sigs []dns.RR, ok bool) {
	guard := n.strict
	if s != nil {
		guard = nil
		if s.managed {
			guard = s
		}
		rrs, sigs = s.rrs, s.sigs
		if s.broken {
			r.note(dns.ExtendedErrorCodeInvalidData, "invalid record data")
			return nil, nil, false
		}
	}
	if guard != nil && r.age > guard.maxStale && guard.whenStale != PolicyLastGood {
		r.note(dns.ExtendedErrorCodeNoReachableAuthority, r.noQuorum())
		switch {
		case guard.whenStale == PolicyNoData:
			return nil, nil, true
		case guard.whenStale == PolicyFixed && s != nil:
			return s.fallback, s.fallbackSigs, true
		case guard.whenStale == PolicyFixed:
			return nil, nil, true
		}
		return nil, nil, false
	}
	if guard != nil && r.age > staleNotice {
		r.note(dns.ExtendedErrorCodeStaleAnswer, r.noQuorum())
	}
	if s != nil && len(rrs) == 0 {
		switch s.whenEmpty {
		case PolicyServFail:
			r.note(dns.ExtendedErrorCodeOther, "no target for "+s.cluster)
			return nil, nil, false
		case PolicyFixed:
			return s.fallback, s.fallbackSigs, true
		}
	}
	return rrs, sigs, true
}

// negative answers that a name has no such record.
func (r *resolution) negative(z *zoneIndex, name string) {
	r.soa(z)
	if !r.do || !z.signed {
		return
	}
	proof := z.denial(name)
	r.out.authority = append(r.out.authority, proof...)
	if z.nodes[name] == nil { // the wildcard exists without the type
		if wild := z.denial("*." + z.encloser(name)); wild[0] != proof[0] {
			r.out.authority = append(r.out.authority, wild...)
		}
	}
}

// soa puts the SOA record of a negative answer into the authority section.
func (r *resolution) soa(z *zoneIndex) {
	r.out.authority = append(r.out.authority, z.negSOA)
	if r.do && z.signed {
		r.out.authority = append(r.out.authority, z.negSigs...)
	}
}

// encloser returns the closest name above name that exists.
func (z *zoneIndex) encloser(name string) string {
	for name = parent(name); z.nodes[name] == nil && name != z.apex; {
		name = parent(name)
	}
	return name
}

// nxdomain answers that the name does not exist. A stale node of a zone with
// managed names cannot know that: the name may have been made since.
func (r *resolution) nxdomain(z *zoneIndex, name string) {
	if z.maxStale > 0 && r.age > z.maxStale {
		r.note(dns.ExtendedErrorCodeNoReachableAuthority, r.noQuorum())
		r.fail()
		return
	}
	r.out.rcode = dns.RcodeNameError // of the last name in a chain, RFC 6604
	r.soa(z)
	if r.do && z.signed { // neither the name nor a wildcard for it: RFC 4035 section 3.1.3.2
		proof, wild := z.denial(name), z.denial("*."+z.encloser(name))
		r.out.authority = append(r.out.authority, proof...)
		if wild[0] != proof[0] {
			r.out.authority = append(r.out.authority, wild...)
		}
	}
}

func (r *resolution) fail() {
	r.out = answer{rcode: dns.RcodeServerFailure, ede: r.out.ede}
}

func (r *resolution) note(code uint16, text string) {
	r.out.ede = &extendedError{code, text}
}

func (r *resolution) noQuorum() string {
	if r.age >= 24*time.Hour {
		return "no quorum"
	}
	return fmt.Sprintf("no quorum for %ds", r.age/time.Second)
}

// addAdditional adds the addresses of the hosts that rrs name, as far as they are
// ours and may be answered now.
func (r *resolution) addAdditional(rrs []dns.RR) {
	seen := make(map[string]bool)
	for _, rr := range rrs {
		host := ""
		switch rr := rr.(type) {
		case *dns.NS:
			host = rr.Ns
		case *dns.MX:
			host = rr.Mx
		case *dns.SRV:
			host = rr.Target
		default:
			return
		}
		name := fqdn(host)
		z := r.ix.zoneOf(name)
		if z == nil || seen[name] {
			continue
		}
		seen[name] = true
		n, ok := z.lookup(name)
		if !ok {
			continue
		}
		for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA} {
			s := n.find(typ)
			if s == nil {
				continue
			}
			// A set that would be SERVFAIL is left out; its note is not this answer's.
			probe := resolution{ix: r.ix, age: r.age}
			if found, sigs, ok := probe.judge(n, s); ok {
				r.out.additional = append(r.out.additional, owned(found, host, name)...)
				if r.do && z.signed {
					r.out.additional = append(r.out.additional, owned(sigs, host, name)...)
				}
			}
		}
	}
}

// owned returns rrs with owner as their name. The shared records are returned as
// they are when that changes nothing.
func owned(rrs []dns.RR, owner, name string) []dns.RR {
	if len(rrs) == 0 || (owner == name && rrs[0].Header().Name == name) {
		return rrs
	}
	out := make([]dns.RR, len(rrs))
	for i, rr := range rrs {
		out[i] = dns.Copy(rr)
		out[i].Header().Name = owner
	}
	return out
}

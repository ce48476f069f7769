package dnsfailover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// Transfer says which secondaries may take whole zones (AXFR, RFC 5936; IXFR, RFC
// 1995), and who is told of changes (NOTIFY, RFC 1996). The zero value refuses all.
type Transfer struct {
	// Keys may transfer. If there are any, an unsigned request is refused.
	Keys []Key
	// Allow are the networks from which zones may be transferred; with Keys it may
	// be empty for any, without Keys it must name the secondaries.
	Allow []netip.Prefix
	// Notify are the secondaries that are told of each change.
	Notify []Secondary
}

// Secondary is another name server for our zones.
type Secondary struct {
	Addr netip.AddrPort
	Key  string // of Transfer.Keys, to sign the NOTIFY with; may be empty
}

func (t *Transfer) on() bool { return len(t.Keys) > 0 || len(t.Allow) > 0 }

// Validate returns every fault of t, joined, or nil.
func (t *Transfer) Validate() error {
	_, err := t.keyring()
	return err
}

func (t *Transfer) keyring() (keyring, error) {
	ring, err := newKeyring(t.Keys)
	faults := []error{err}
	for i, n := range t.Notify {
		if !n.Addr.IsValid() {
			faults = append(faults, fmt.Errorf("secondary %d has no address", i+1))
		}
		if n.Key != "" && ring[fqdn(n.Key)].Name == "" {
			faults = append(faults, fmt.Errorf("NOTIFY to %s is to be signed with key %q, which is not configured", n.Addr, n.Key))
		}
	}
	if len(t.Notify) > 0 && !t.on() {
		faults = append(faults, errors.New("secondaries are notified, but nobody may transfer: configure keys or allow networks"))
	}
	return ring, errors.Join(faults...)
}

// may says whether a client with this signature may take zones.
func (t *Transfer) may(client netip.Addr, sig *signature) bool {
	if !t.on() || sig == nil && len(t.Keys) > 0 {
		return false
	}
	if len(t.Allow) == 0 {
		return true
	}
	client = plain(client)
	return slices.ContainsFunc(t.Allow, func(p netip.Prefix) bool { return p.Contains(client) })
}

// transferMax is the size at which a message of a transfer is closed: well below
// the limit of 65535 bytes, and few enough messages for large zones.
const transferMax = 16 << 10

// transferQuery returns the request if msg asks for a zone transfer.
func transferQuery(msg []byte) *dns.Msg {
	if len(msg) < headerSize || msg[2]>>3&maskOpcode != dns.OpcodeQuery || !complete(msg) {
		return nil
	}
	typ := binary.BigEndian.Uint16(msg[skipName(msg, headerSize):])
	if typ != dns.TypeAXFR && typ != dns.TypeIXFR {
		return nil
	}
	m := new(dns.Msg)
	if m.Unpack(msg) != nil || len(m.Question) != 1 || m.Question[0].Qclass != dns.ClassINET {
		return nil
	}
	return m
}

// transfer answers an AXFR or IXFR over TCP or TLS (RFC 9103) by calling write for each message.
func (s *Server) transfer(req *dns.Msg, msg []byte, client netip.AddrPort, via transport, write func([]byte) error) error {
	q := req.Question[0]
	count := func(rcode int) { s.metrics.count(result{qtype: queryType(q.Qtype), rcode: rcode}, via) }
	sig := s.keys.signatureOf(msg)
	if sig != nil && sig.fault != 0 {
		out, res := sig.refuse(msg)
		s.metrics.count(res, via)
		return write(out)
	}
	refuse := func(rcode int) error {
		count(rcode)
		reply := new(dns.Msg).SetRcode(req, rcode)
		return s.send(reply, sig, write)
	}
	p := s.current.Load()
	var z *zoneIndex
	if p != nil {
		z = p.ix.zones[fqdn(q.Name)]
	}
	switch {
	case !s.cfg.Transfer.may(client.Addr(), sig):
		reply, _ := s.handle(msg, via, client.Addr(), s.clock()) // says so as to any other query
		return write(reply)
	case p == nil:
		return refuse(dns.RcodeServerFailure)
	case z == nil:
		return refuse(dns.RcodeNotAuth)
	case s.cfg.Source.Contact() > staleNotice:
		return refuse(dns.RcodeServerFailure) // a secondary must not spread what may be old
	}
	count(dns.RcodeSuccess)
	return s.stream(req, z, p.histories[z.apex], sig, write)
}

// stream sends a zone, or what has changed in it.
func (s *Server) stream(req *dns.Msg, z *zoneIndex, h *history, sig *signature, write func([]byte) error) error {
	soa := z.soa()
	rrs := append(z.records(), soa)
	if has, asks := knownSerial(req); asks {
		if has == soa.Serial {
			rrs = []dns.RR{soa}
		} else if changes, ok := h.since(has); ok && len(changes)+2 < len(rrs) {
			rrs = append(append([]dns.RR{soa}, changes...), soa)
		}
	}
	for first := true; len(rrs) > 0; first = false {
		reply := new(dns.Msg).SetReply(req)
		reply.Authoritative, reply.Compress, reply.RecursionDesired = true, true, false
		if !first {
			reply.Question = nil
		}
		size, n := 0, 0
		for n < len(rrs) && (n == 0 || size+dns.Len(rrs[n]) < transferMax) {
			size += dns.Len(rrs[n])
			n++
		}
		reply.Answer, rrs = rrs[:n:n], rrs[n:]
		if err := s.send(reply, sig, write); err != nil {
			return err
		}
	}
	return nil
}

// knownSerial returns the serial that an IXFR client has, RFC 1995 section 3.
func knownSerial(req *dns.Msg) (serial uint32, ok bool) {
	if req.Question[0].Qtype != dns.TypeIXFR {
		return 0, false
	}
	for _, rr := range req.Ns {
		if soa, is := rr.(*dns.SOA); is {
			return soa.Serial, true
		}
	}
	return 0, false
}

func (s *Server) send(reply *dns.Msg, sig *signature, write func([]byte) error) error {
	if sig == nil {
		out, err := reply.Pack()
		if err != nil {
			return err
		}
		return write(out)
	}
	out, err := sig.sign(reply)
	if err != nil {
		return err
	}
	return write(out)
}

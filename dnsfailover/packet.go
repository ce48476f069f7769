package dnsfailover

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

const (
	headerSize = 12
	// ednsSize is the largest UDP reply that we send and the size that we announce:
	// it fits every path without fragments (RFC 9715).
	ednsSize = 1232
)

// Bits of the second 16 bits of a DNS header, RFC 1035 section 4.1.1.
const (
	bitQR      = 1 << 15
	bitRD      = 1 << 8
	shiftOpc   = 11
	maskOpcode = 0xF
)

type transport string

const (
	transportUDP transport = "udp"
	transportTCP transport = "tcp"
	transportTLS transport = "tls" // RFC 7858
)

// result says how a packet was treated, for the metrics.
type result struct {
	qtype   string // mnemonic, "none" without a readable question
	rcode   int
	dropped string // the reason why there is no reply, or ""
	proven  bool   // the client has shown a valid cookie
}

// responder turns query packets into reply packets. It holds no state besides
// what it says about itself.
type responder struct {
	id, version string
	cookies     *cookies   // nil: COOKIE options are ignored
	client      netip.Addr // who asks
	now         uint32     // Unix seconds
	reserve     int        // bytes of a reply that its signature needs
	transfers   bool       // the client may take zones
}

// respond returns the reply to one packet, nil for one that must not be answered.
// It is pure, never blocks and keeps no reference to query.
func (r responder) respond(ix *index, age time.Duration, query []byte, via transport) ([]byte, result) {
	if len(query) < headerSize {
		return nil, result{dropped: "short"}
	}
	bits := binary.BigEndian.Uint16(query[2:])
	if bits&bitQR != 0 {
		return nil, result{dropped: "response"}
	}
	if opcode := bits >> shiftOpc & maskOpcode; opcode != dns.OpcodeQuery {
		return headerOnly(query, dns.RcodeNotImplemented, opcode<<shiftOpc)
	}
	var req dns.Msg
	if !complete(query) || req.Unpack(query) != nil || len(req.Question) != 1 {
		return headerOnly(query, dns.RcodeFormatError, bits&bitRD)
	}
	reply := &dns.Msg{Compress: true, Question: req.Question}
	reply.Id, reply.Response, reply.RecursionDesired = req.Id, true, req.RecursionDesired

	opt, ok := theOPT(&req)
	if !ok {
		return headerOnly(query, dns.RcodeFormatError, bits&bitRD)
	}
	limit := dns.MinMsgSize
	var ours *dns.OPT
	var proven bool
	if opt != nil {
		limit = min(max(int(opt.UDPSize()), dns.MinMsgSize), ednsSize)
		ours = &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		ours.SetUDPSize(ednsSize)
		ours.SetDo(opt.Do()) // other flags are not echoed: RFC 6891 section 6.1.4
		var ok bool
		if proven, ok = r.options(opt, ours); !ok {
			return headerOnly(query, dns.RcodeFormatError, bits&bitRD)
		}
	}
	if via != transportUDP {
		limit = dns.MaxMsgSize
	}
	if opt != nil && opt.Version() != 0 {
		reply.Rcode = dns.RcodeBadVers
	} else {
		r.fill(reply, ours, ix, age)
	}
	out, res := seal(reply, ours, limit-r.reserve)
	res.proven = proven
	return out, res
}

// complete reports whether query is one question (RFC 9619) and holds as a whole
// all records that its header announces: miekg/dns fills what is cut off at the
// end of a message with zeros. The query must be longer than a header.
func complete(query []byte) bool {
	count := func(at int) int { return int(binary.BigEndian.Uint16(query[at:])) }
	if count(4) != 1 {
		return false
	}
	off := skipName(query, headerSize) + 4 // type, class
	for range count(6) + count(8) + count(10) {
		off = skipName(query, off) + 10 // type, class, TTL, length of the data
		if off > len(query) {
			return false
		}
		off += count(off - 2)
	}
	return off <= len(query)
}

// skipName returns the offset behind the name at off; an offset beyond the end of
// msg if the name does not end inside it.
func skipName(msg []byte, off int) int {
	for off < len(msg) {
		switch size := int(msg[off]); {
		case size == 0:
			return off + 1
		case size >= 0xC0: // a pointer, which ends a name: RFC 1035 section 4.1.4
			return off + 2
		default:
			off += 1 + size
		}
	}
	return len(msg) + 1
}

// theOPT returns the OPT record of a query, nil if it has none; ok is false if it
// has one that RFC 6891 section 6.1.1 forbids: a second one, or one with a name.
func theOPT(req *dns.Msg) (opt *dns.OPT, ok bool) {
	for _, rr := range req.Extra {
		o, is := rr.(*dns.OPT)
		if !is {
			continue
		}
		if opt != nil || o.Hdr.Name != "." {
			return nil, false
		}
		opt = o
	}
	return opt, true
}

// options answers the options of a query; those that it does not know are ignored.
// ok is false for a cookie that is a format error, RFC 7873 section 5.2.2; proven
// says that the client has shown a valid one.
func (r responder) options(opt, ours *dns.OPT) (proven, ok bool) {
	if o, ok := optionOf(opt, dns.EDNS0COOKIE); ok && r.cookies != nil {
		data, err := hex.DecodeString(o.(*dns.EDNS0_COOKIE).Cookie)
		if err != nil || !goodCookie(data) {
			return false, false
		}
		proven = r.cookies.valid(data, r.client, r.now)
		var full [clientCookie + serverCookie]byte
		r.cookies.fill(full[:], data, r.client, r.now)
		ours.Option = append(ours.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: hex.EncodeToString(full[:])})
	}
	if _, ok := optionOf(opt, dns.EDNS0NSID); ok && r.id != "" {
		ours.Option = append(ours.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: hex.EncodeToString([]byte(r.id))})
	}
	if o, ok := optionOf(opt, dns.EDNS0SUBNET); ok {
		// The answer is the same for all networks: RFC 7871 section 7.2.1.
		subnet := *o.(*dns.EDNS0_SUBNET)
		subnet.SourceScope = 0
		ours.Option = append(ours.Option, &subnet)
	}
	return proven, true
}

// fill puts the answer to reply's question into reply.
func (r responder) fill(reply *dns.Msg, ours *dns.OPT, ix *index, age time.Duration) {
	q := reply.Question[0]
	var a answer
	switch q.Qclass {
	case dns.ClassINET:
		if r.transfers && q.Qtype == dns.TypeIXFR {
			q.Qtype = dns.TypeSOA // the serial, and the client comes by TCP: RFC 1995 section 2
		}
		a = resolve(ix, age, q, ours != nil && ours.Do())
	case dns.ClassCHAOS:
		a = r.chaos(q)
	default:
		a = answer{rcode: dns.RcodeRefused}
	}
	reply.Rcode, reply.Authoritative = a.rcode, a.authoritative
	reply.Answer, reply.Ns, reply.Extra = a.answer, a.authority, a.additional
	if ours != nil && a.ede != nil {
		ours.Option = append(ours.Option, &dns.EDNS0_EDE{InfoCode: a.ede.code, ExtraText: a.ede.text})
	}
}

// chaos answers the questions about the server itself, RFC 4892.
func (r responder) chaos(q dns.Question) answer {
	text := ""
	switch fqdn(q.Name) {
	case "id.server.", "hostname.bind.":
		text = r.id
	case "version.server.", "version.bind.":
		text = r.version
	}
	if text == "" || (q.Qtype != dns.TypeTXT && q.Qtype != dns.TypeANY) {
		return answer{rcode: dns.RcodeRefused}
	}
	return answer{authoritative: true, answer: []dns.RR{&dns.TXT{
		Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeTXT, Class: dns.ClassCHAOS},
		Txt: []string{text[:min(len(text), 255)]},
	}}}
}

// seal packs reply into at most limit bytes. Additional addresses go first and
// silently (RFC 2181 section 9); if the rest does not fit either, the reply says
// so (TC) and is empty, because half a set is of no use to anybody.
func seal(reply *dns.Msg, ours *dns.OPT, limit int) ([]byte, result) {
	res := result{qtype: queryType(reply.Question[0].Qtype), rcode: reply.Rcode}
	additional := reply.Extra
	for stage := range 3 {
		switch stage {
		case 0:
			reply.Extra = additional[:len(additional):len(additional)]
		case 1:
			reply.Extra = nil
		case 2:
			reply.Answer, reply.Ns, reply.Extra = nil, nil, nil
			reply.Truncated = true
		}
		if ours != nil {
			reply.Extra = append(reply.Extra, ours)
		}
		if out, err := reply.Pack(); err == nil && len(out) <= limit {
			return out, res
		}
	}
	return nil, result{qtype: res.qtype, dropped: "unpackable"}
}

// headerOnly answers with the ID, the given header bits and an rcode, for queries
// that cannot be read further.
func headerOnly(query []byte, rcode int, bits uint16) ([]byte, result) {
	out := make([]byte, headerSize)
	copy(out, query[:2])
	binary.BigEndian.PutUint16(out[2:], bitQR|bits|uint16(rcode))
	return out, result{qtype: "none", rcode: rcode}
}

// queryType returns the label of a query type in the metrics. Types that clients
// make up share one label, so that they cannot make more series.
func queryType(typ uint16) string {
	switch typ {
	case dns.TypeA, dns.TypeAAAA, dns.TypeCNAME, dns.TypeHTTPS, dns.TypeMX, dns.TypeNS, dns.TypePTR,
		dns.TypeSOA, dns.TypeSRV, dns.TypeSVCB, dns.TypeTXT, dns.TypeANY, dns.TypeAXFR, dns.TypeIXFR,
		dns.TypeDS, dns.TypeDNSKEY, dns.TypeCAA:
		return typeName(typ)
	}
	return "other"
}

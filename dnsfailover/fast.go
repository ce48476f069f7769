package dnsfailover

import (
	"encoding/binary"
	"net/netip"

	"github.com/miekg/dns"
)

// The fast path answers the queries that nearly all clients send: one question of
// class IN for a name without odd characters, and at most one OPT record with no
// option but a cookie. It copies ready-made bytes, allocates nothing, and leaves
// everything else, and every doubt, to responder.respond. For the same packet
// both give the same answer: FuzzFastPath compares them.

// fastQuery is a query that the fast path has understood.
type fastQuery struct {
	bits     uint16
	qtype    uint16
	end      int // of the question
	edns     bool
	do       bool
	size     uint16 // that the client announces
	cookie   []byte // data of its COOKIE option
	name     [256]byte
	nameLen  int
	nameHash uint64
}

const (
	bitAA    = 1 << 10
	bitTC    = 1 << 9
	bitAD    = 1 << 5
	bitCD    = 1 << 4
	bitDO    = 1 << 15
	optSize  = 11
	optFixed = 4 // code and length of an option
)

// parse reads a query, and returns false for one that is not for the fast path.
func (q *fastQuery) parse(msg []byte) bool {
	if len(msg) < headerSize+5 {
		return false
	}
	q.bits = binary.BigEndian.Uint16(msg[2:])
	if q.bits&^(bitRD|bitAD|bitCD) != 0 || // not a plain query
		binary.BigEndian.Uint16(msg[4:]) != 1 || binary.BigEndian.Uint32(msg[6:]) != 0 {
		return false
	}
	if !q.parseName(msg) || q.end+4 > len(msg) {
		return false
	}
	q.qtype = binary.BigEndian.Uint16(msg[q.end:])
	if binary.BigEndian.Uint16(msg[q.end+2:]) != dns.ClassINET || meta(q.qtype) {
		return false
	}
	q.end += 4
	q.edns, q.do, q.cookie = false, false, nil
	switch binary.BigEndian.Uint16(msg[10:]) {
	case 0:
		return q.end == len(msg)
	case 1:
		return q.parseOPT(msg[q.end:])
	}
	return false
}

// meta says whether a type asks for something else than the data of that type.
func meta(typ uint16) bool {
	return typ == 0 || typ == dns.TypeOPT || typ >= 128 && typ <= 255
}

// parseName reads the name in the question as canonical text.
func (q *fastQuery) parseName(msg []byte) bool {
	off, n := headerSize, 0
	hash := uint64(14695981039346656037) // FNV-1a
	for {
		if off >= len(msg) {
			return false
		}
		size := int(msg[off])
		off++
		if size == 0 {
			break
		}
		if size > 63 || off+size > len(msg) || n+size+1 > 254 {
			return false
		}
		for _, c := range msg[off : off+size] {
			c = plainByte[c]
			if c == 0 {
				return false
			}
			q.name[n] = c
			n++
			hash = (hash ^ uint64(c)) * 1099511628211
		}
		q.name[n] = '.'
		n++
		hash = (hash ^ '.') * 1099511628211
		off += size
	}
	if n == 0 {
		return false // the root
	}
	q.nameLen, q.nameHash, q.end = n, hash, off
	return true
}

// plainByte maps letters to lower case, keeps what needs no escape in text, and
// maps everything else to 0.
var plainByte = func() (t [256]byte) {
	for c := range 256 {
		b := byte(c)
		switch {
		case b >= 'A' && b <= 'Z':
			t[c] = b + 'a' - 'A'
		case b >= 'a' && b <= 'z', b >= '0' && b <= '9', b == '-', b == '_':
			t[c] = b
		}
	}
	return t
}()

// parseOPT reads the only additional record, which must be a plain OPT.
func (q *fastQuery) parseOPT(rr []byte) bool {
	if len(rr) < optSize || rr[0] != 0 || binary.BigEndian.Uint16(rr[1:]) != dns.TypeOPT || rr[5] != 0 || rr[6] != 0 {
		return false // an extended rcode or another version
	}
	q.edns = true
	q.size = binary.BigEndian.Uint16(rr[3:])
	q.do = binary.BigEndian.Uint16(rr[7:])&bitDO != 0
	data := rr[optSize:]
	if int(binary.BigEndian.Uint16(rr[9:])) != len(data) {
		return false
	}
	if len(data) == 0 {
		return true
	}
	if len(data) < optFixed || binary.BigEndian.Uint16(data) != dns.EDNS0COOKIE ||
		int(binary.BigEndian.Uint16(data[2:])) != len(data)-optFixed {
		return false
	}
	q.cookie = data[optFixed:]
	return goodCookie(q.cookie)
}

// fastReply is how the fast path answered.
type fastReply struct {
	n        int // bytes of the reply; 0: none is sent
	nxdomain bool
	limited  verdict
}

// answerFast writes the reply to msg into out, which holds ednsSize bytes. It
// returns false if the slow path has to answer. It must only be used while the
// node is in touch with a quorum.
func (s *Server) answerFast(ix *index, q *fastQuery, msg, out []byte, client netip.Addr, now clock) (fastReply, bool) {
	if !q.parse(msg) {
		return fastReply{}, false
	}
	limit := dns.MinMsgSize
	tail := 0
	if q.edns {
		limit = min(max(int(q.size), dns.MinMsgSize), ednsSize)
		tail = optSize
		if q.cookie != nil {
			tail += optFixed + clientCookie + serverCookie
		}
	}
	name := q.name[:q.nameLen]
	n := ix.names[string(name)]
	z, what := (*zoneIndex)(nil), q.nameHash
	var r fastReply
	var counts prebuilt
	end := q.end
	switch {
	case n == nil:
		if z = ix.missing(name); z == nil || q.do && z.signed {
			return r, false // a signed denial depends on the name
		}
		r.nxdomain, what = true, z.hash
	case n.find(q.qtype) != nil || n.alias && (q.qtype == dns.TypeA || q.qtype == dns.TypeAAAA) || q.do && n.zone.signed && !n.alias:
		typ := q.qtype
		if n.find(typ) == nil && !n.alias {
			typ = absentType // the denial is the same for all types that are not there
		}
		ready := ix.prebuiltFor(n.name, n, typ, q.do && n.zone.signed)
		if ready == nil || end+len(ready.body)+tail > limit {
			return r, false
		}
		counts = *ready
		end += copy(out[end:], ready.body)
	case n.alias:
		return r, false
	default:
		z = n.zone
	}
	if z != nil { // a negative answer: the SOA's owner points into the question
		if z.negative == nil || end+2+len(z.negative)+tail > limit {
			return r, false
		}
		counts.ns = 1
		binary.BigEndian.PutUint16(out[end:], 0xC000|uint16(headerSize+q.nameLen-len(z.apex)))
		end += 2 + copy(out[end+2:], z.negative)
	}
	known := q.cookie != nil && s.cookies.valid(q.cookie, client, now.seconds)
	if s.limiter.rate > 0 && !known {
		r.limited = s.limiter.judge(limitKey(client, what), now.millis)
	}
	bits := uint16(bitQR | bitAA | q.bits&bitRD)
	switch r.limited {
	case drop:
		return r, true
	case truncate:
		end, counts, bits = q.end, prebuilt{}, bits&^bitAA|bitTC
	}
	if r.nxdomain && r.limited == pass {
		bits |= dns.RcodeNameError
	}
	copy(out, msg[:q.end]) // ID and question
	if q.edns {
		end = s.putOPT(out, end, q, client, now)
		counts.ar++
	}
	binary.BigEndian.PutUint16(out[2:], bits)
	binary.BigEndian.PutUint16(out[6:], counts.an)
	binary.BigEndian.PutUint16(out[8:], counts.ns)
	binary.BigEndian.PutUint16(out[10:], counts.ar)
	r.n = end
	return r, true
}

// putOPT writes our OPT record at end and returns the new end.
func (s *Server) putOPT(out []byte, end int, q *fastQuery, client netip.Addr, now clock) int {
	rr := out[end : end+optSize]
	rr[0] = 0
	binary.BigEndian.PutUint16(rr[1:], dns.TypeOPT)
	binary.BigEndian.PutUint16(rr[3:], ednsSize)
	binary.BigEndian.PutUint32(rr[5:], 0)
	if q.do {
		binary.BigEndian.PutUint16(rr[7:], bitDO)
	}
	binary.BigEndian.PutUint16(rr[9:], 0)
	end += optSize
	if q.cookie != nil {
		binary.BigEndian.PutUint16(rr[9:], optFixed+clientCookie+serverCookie)
		binary.BigEndian.PutUint16(out[end:], dns.EDNS0COOKIE)
		binary.BigEndian.PutUint16(out[end+2:], clientCookie+serverCookie)
		s.cookies.fill(out[end+optFixed:], q.cookie, client, now.seconds)
		end += optFixed + clientCookie + serverCookie
	}
	return end
}

// missing returns the zone in which a name certainly does not exist; nil if it has
// no zone here, or if a wildcard answers for it.
func (ix *index) missing(name []byte) *zoneIndex {
	for i, c := range name {
		if c != '.' || i+1 == len(name) {
			continue
		}
		encloser := ix.names[string(name[i+1:])]
		if encloser == nil {
			continue
		}
		if encloser.wildcard {
			return nil
		}
		return encloser.zone
	}
	return nil
}

package dnsfailover

import (
	"sync/atomic"

	"github.com/miekg/dns"
)

// prebuilt is the part of a reply behind the question, ready to be copied. Names
// in it point to the question, which always stands at the same place, so that the
// reply keeps the case in which the question was asked.
type prebuilt struct {
	body       []byte
	an, ns, ar uint16
}

// prebuiltSet is what a node has been asked for so far. It is made on demand, so
// that publishing a view costs nothing for names that nobody asks for.
type prebuiltSet struct {
	typ   uint16
	do    bool
	reply *prebuilt // nil: the slow path answers
}

type prebuiltSets = atomic.Pointer[[]prebuiltSet]

// absentType is a type that no name has: RFC 6895 reserves it.
const absentType = 65535

// prebuiltFor returns the reply of a node to one type, ready made; nil if the slow
// path has to answer. It holds while this node is in touch with a quorum.
func (ix *index) prebuiltFor(name string, n *node, typ uint16, do bool) *prebuilt {
	for {
		known := n.ready.Load()
		if known != nil {
			for i := range *known {
				if (*known)[i].typ == typ && (*known)[i].do == do {
					return (*known)[i].reply
				}
			}
		}
		var next []prebuiltSet
		if known != nil {
			next = append(next, *known...)
		}
		next = append(next, prebuiltSet{typ, do, ix.pack(name, typ, do)})
		if n.ready.CompareAndSwap(known, &next) {
			return next[len(next)-1].reply
		}
	}
}

// pack makes the reply to a question, as the slow path does.
func (ix *index) pack(name string, typ uint16, do bool) *prebuilt {
	q := dns.Question{Name: name, Qtype: typ, Qclass: dns.ClassINET}
	a := resolve(ix, 0, q, do)
	if a.rcode != dns.RcodeSuccess || a.ede != nil || !a.authoritative {
		return nil
	}
	msg := dns.Msg{Compress: true, Question: []dns.Question{q}, Answer: a.answer, Ns: a.authority, Extra: a.additional}
	out, err := msg.Pack()
	if err != nil || len(out) > ednsSize {
		return nil
	}
	return &prebuilt{
		body: out[headerSize+len(name)+1+4:],
		an:   uint16(len(a.answer)), ns: uint16(len(a.authority)), ar: uint16(len(a.additional)),
	}
}

// packNegative returns the SOA record of a negative answer without its owner.
func packNegative(soa dns.RR) []byte {
	buf := make([]byte, dns.Len(soa)+64)
	end, err := dns.PackRR(soa, buf, 0, nil, false)
	if err != nil {
		return nil
	}
	return buf[len(soa.Header().Name)+1 : end]
}

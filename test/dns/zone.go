package dns

import (
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// Apex is the zone that all servers serve.
const Apex = "bench.test."

// ZoneText is the zone as RFC 1035 text: ten names, TTL 5.
func ZoneText() string {
	var b strings.Builder
	b.WriteString("$ORIGIN bench.test.\n$TTL 5\n")
	b.WriteString("@ 5 IN SOA ns1.bench.test. hostmaster.bench.test. 1 1200 180 1209600 5\n")
	b.WriteString("@ 3600 IN NS ns1.bench.test.\n@ 3600 IN NS ns2.bench.test.\n@ 5 IN A 192.0.2.80\n")
	b.WriteString("ns1 3600 IN A 192.0.2.1\nns2 3600 IN A 192.0.2.2\n")
	for i := range 7 {
		fmt.Fprintf(&b, "h%d 5 IN A 192.0.2.%d\nh%d 5 IN AAAA 2001:db8::%d\n", i, 10+i, i, 10+i)
	}
	return b.String()
}

// A Question of the mix that the clients send.
type Question struct {
	Name string
	Type uint16
}

// Mix is what is asked: hits, apex records, mixed case, a name server's host, and
// names that do not exist (15 %).
func Mix() []Question {
	q := []Question{
		{"bench.test.", dns.TypeSOA},
		{"bench.test.", dns.TypeNS},
		{"bench.test.", dns.TypeA},
		{"H3.bEnCh.test.", dns.TypeA},
		{"ns1.bench.test.", dns.TypeA},
		{"nx1.bench.test.", dns.TypeA},
		{"nx2.bench.test.", dns.TypeAAAA},
		{"a.b.nx3.bench.test.", dns.TypeA},
	}
	for i := range 6 {
		name := fmt.Sprintf("h%d.bench.test.", i)
		q = append(q, Question{name, dns.TypeA}, Question{name, dns.TypeAAAA})
	}
	return q
}

// Packets are the mix on the wire, with a cookie option if asked for.
func Packets(edns, cookie bool) ([][]byte, error) {
	var out [][]byte
	for _, q := range Mix() {
		m := new(dns.Msg).SetQuestion(q.Name, q.Type)
		m.RecursionDesired = false
		if edns || cookie {
			m.SetEdns0(1232, false)
		}
		if cookie {
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}}
		}
		raw, err := m.Pack()
		if err != nil {
			return nil, err
		}
		out = append(out, raw)
	}
	return out, nil
}

package dnsfailover

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// bench is the configuration that the table tests ask.
func benchZones() []ZoneSpec {
	addr := netip.MustParseAddr
	return []ZoneSpec{{
		Name: "example.test",
		NS: []NameServer{
			{Name: "ns1", Addrs: []netip.Addr{addr("192.0.2.1"), addr("2001:db8::1")}},
			{Name: "ns2.example.test.", Addrs: []netip.Addr{addr("192.0.2.2")}},
			{Name: "ns.other.test."},
		},
		Admin: "ops@example.test", TTL: 60, NegativeTTL: 7,
		Records: []RRset{
			{Name: "@", Type: dns.TypeMX, Values: []string{"10 mail", "20 mx.other.test."}},
			{Name: "@", Type: dns.TypeTXT, Values: []string{`"v=spf1 -all"`}},
			{Name: "mail", Type: dns.TypeA, Values: []string{"192.0.2.25"}},
			{Name: "www", Type: dns.TypeCNAME, Values: []string{"web"}},
			{Name: "web", Type: dns.TypeA, TTL: 30, Values: []string{"192.0.2.80"}},
			{Name: "out", Type: dns.TypeCNAME, Values: []string{"host.other.test."}},
			{Name: "dangling", Type: dns.TypeCNAME, Values: []string{"missing"}},
			{Name: "loop1", Type: dns.TypeCNAME, Values: []string{"loop2"}},
			{Name: "loop2", Type: dns.TypeCNAME, Values: []string{"loop1"}},
			{Name: "db", Type: dns.TypeCNAME, Values: []string{"primary.pg"}},
			{Name: "a.b.deep", Type: dns.TypeA, Values: []string{"192.0.2.9"}},
			{Name: "*.wild", Type: dns.TypeA, Values: []string{"192.0.2.77"}},
			{Name: "known.wild", Type: dns.TypeTXT, Values: []string{`"here"`}},
			{Name: "odd", Type: 65400, Values: []string{`\# 3 010203`}},
			{Name: "big", Type: dns.TypeTXT, Values: bigValues()},
		},
	}}
}

func bigValues() []string {
	var values []string
	for i := range 20 {
		values = append(values, fmt.Sprintf(`"%02d %s"`, i, strings.Repeat("x", 200)))
	}
	return values
}

func target(name, ip string) Target {
	return Target{Name: name, Addrs: []netip.Addr{netip.MustParseAddr(ip)}}
}

func benchCluster() ClusterView {
	primary := target("pg1", "10.0.0.1")
	return ClusterView{
		Name: "pg", Zone: "example.test", Epoch: 7, Primary: &primary, TTL: 5,
		Replicas: []Target{target("pg2", "10.0.0.2"), target("pg3", "2001:db8::3")},
		Members:  []Target{primary, target("pg2", "10.0.0.2"), target("pg3", "2001:db8::3"), target("pg4", "10.0.0.4")},
	}
}

func mustBuild(t testing.TB, zones []ZoneSpec, clusters ...ClusterView) *View {
	t.Helper()
	view, err := Build(42, zones, clusters)
	if err != nil {
		t.Fatal(err)
	}
	return view
}

func mustCompile(t testing.TB, view *View) *index {
	t.Helper()
	ix, err := compile(view, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

const soa7 = "example.test. 7 IN SOA ns1.example.test. ops.example.test. 42 1200 180 1209600 7"

// testCase is a question and the exact reply to it: records as text, the order
// within a section does not matter.
type testCase struct {
	name, question string // question: "name type"
	age            time.Duration
	rcode          int
	noAA           bool
	answer         []string
	ns             []string
	extra          []string
	ede            int // RFC 8914 code, 0 for none
}

func (c testCase) query(t testing.TB) *dns.Msg {
	t.Helper()
	name, typ, ok := strings.Cut(c.question, " ")
	qtype, known := dns.StringToType[typ]
	if !known {
		if _, err := fmt.Sscanf(typ, "TYPE%d", &qtype); err != nil || !ok {
			t.Fatalf("question %q: unknown type", c.question)
		}
	}
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Id: 4711}}
	m.Question = []dns.Question{{Name: name, Qtype: qtype, Qclass: dns.ClassINET}}
	m.SetEdns0(4096, false)
	return m
}

func (c testCase) check(t testing.TB, reply *dns.Msg) {
	t.Helper()
	if got, want := dns.RcodeToString[reply.Rcode], dns.RcodeToString[c.rcode]; got != want {
		t.Errorf("%s: rcode %s, want %s", c.question, got, want)
	}
	if reply.Authoritative == c.noAA {
		t.Errorf("%s: AA %v, want %v", c.question, reply.Authoritative, !c.noAA)
	}
	checkSection(t, c.question+" answer", reply.Answer, c.answer)
	checkSection(t, c.question+" authority", reply.Ns, c.ns)
	var extra []dns.RR
	ede := 0
	for _, rr := range reply.Extra {
		opt, ok := rr.(*dns.OPT)
		if !ok {
			extra = append(extra, rr)
			continue
		}
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				ede = int(e.InfoCode)
			}
		}
	}
	checkSection(t, c.question+" additional", extra, c.extra)
	if ede != c.ede {
		t.Errorf("%s: extended error %d, want %d", c.question, ede, c.ede)
	}
}

func checkSection(t testing.TB, what string, got []dns.RR, want []string) {
	t.Helper()
	text := func(rr dns.RR) string { return strings.Join(strings.Fields(rr.String()), " ") }
	var g, w []string
	for _, rr := range got {
		g = append(g, text(rr))
	}
	for _, s := range want {
		rr, err := dns.NewRR(s)
		if err != nil {
			t.Fatalf("%s: test record %q: %v", what, s, err)
		}
		w = append(w, text(rr))
	}
	slices.Sort(g)
	slices.Sort(w)
	if !slices.Equal(g, w) {
		t.Errorf("%s:\n got  %s\n want %s", what, strings.Join(g, "\n      "), strings.Join(w, "\n      "))
	}
}

var staticCases = []testCase{
	{
		name: "apex soa", question: "example.test. SOA",
		answer: []string{"example.test. 60 IN SOA ns1.example.test. ops.example.test. 42 1200 180 1209600 7"},
	},
	{
		name: "apex ns with glue of our own names only", question: "example.test. NS",
		answer: []string{"example.test. 3600 NS ns1.example.test.", "example.test. 3600 NS ns2.example.test.", "example.test. 3600 NS ns.other.test."},
		extra:  []string{"ns1.example.test. 3600 A 192.0.2.1", "ns1.example.test. 3600 AAAA 2001:db8::1", "ns2.example.test. 3600 A 192.0.2.2"},
	},
	{
		name: "mx with additional", question: "example.test. MX",
		answer: []string{"example.test. 60 MX 10 mail.example.test.", "example.test. 60 MX 20 mx.other.test."},
		extra:  []string{"mail.example.test. 60 A 192.0.2.25"},
	},
	{name: "name server address", question: "ns1.example.test. AAAA", answer: []string{"ns1.example.test. 3600 AAAA 2001:db8::1"}},
	{name: "apex nodata", question: "example.test. A", ns: []string{soa7}},
	{name: "nodata", question: "mail.example.test. AAAA", ns: []string{soa7}},
	{name: "unknown type nodata", question: "mail.example.test. TYPE4711", ns: []string{soa7}},
	{name: "meta type nodata", question: "mail.example.test. MAILB", ns: []string{soa7}},
	{name: "nxdomain", question: "no.example.test. A", rcode: dns.RcodeNameError, ns: []string{soa7}},
	{name: "nxdomain below a leaf", question: "x.mail.example.test. A", rcode: dns.RcodeNameError, ns: []string{soa7}},
	{name: "nxdomain any", question: "no.example.test. ANY", rcode: dns.RcodeNameError, ns: []string{soa7}},
	{name: "empty non-terminal", question: "deep.example.test. A", ns: []string{soa7}},
	{name: "empty non-terminal 2", question: "b.deep.example.test. ANY", ns: []string{soa7}},
	{name: "below empty non-terminals", question: "a.b.deep.example.test. A", answer: []string{"a.b.deep.example.test. 60 A 192.0.2.9"}},
	{name: "beside an empty non-terminal", question: "c.deep.example.test. A", rcode: dns.RcodeNameError, ns: []string{soa7}},
	{
		name: "cname followed", question: "www.example.test. A",
		answer: []string{"www.example.test. 60 CNAME web.example.test.", "web.example.test. 30 A 192.0.2.80"},
	},
	{name: "cname asked for", question: "www.example.test. CNAME", answer: []string{"www.example.test. 60 CNAME web.example.test."}},
	{
		name: "cname to nodata", question: "www.example.test. AAAA",
		answer: []string{"www.example.test. 60 CNAME web.example.test."}, ns: []string{soa7},
	},
	{name: "cname to elsewhere", question: "out.example.test. A", answer: []string{"out.example.test. 60 CNAME host.other.test."}},
	{
		name: "cname to nothing", question: "dangling.example.test. A", rcode: dns.RcodeNameError,
		answer: []string{"dangling.example.test. 60 CNAME missing.example.test."}, ns: []string{soa7},
	},
	{name: "wildcard", question: "x.wild.example.test. A", answer: []string{"x.wild.example.test. 60 A 192.0.2.77"}},
	{name: "wildcard, two labels", question: "y.x.wild.example.test. A", answer: []string{"y.x.wild.example.test. 60 A 192.0.2.77"}},
	{name: "wildcard nodata", question: "x.wild.example.test. TXT", ns: []string{soa7}},
	{name: "wildcard does not cover an existing name", question: "known.wild.example.test. A", ns: []string{soa7}},
	{name: "wildcard does not reach below an existing name", question: "x.known.wild.example.test. A", rcode: dns.RcodeNameError, ns: []string{soa7}},
	{name: "wildcard itself", question: "*.wild.example.test. A", answer: []string{"*.wild.example.test. 60 A 192.0.2.77"}},
	{name: "unknown type", question: "odd.example.test. TYPE65400", answer: []string{`odd.example.test. 60 IN TYPE65400 \# 3 010203`}},
	{name: "any is one set", question: "mail.example.test. ANY", answer: []string{"mail.example.test. 60 A 192.0.2.25"}},
	{name: "case comes back", question: "MaIl.ExAmPlE.tEsT. A", answer: []string{"MaIl.ExAmPlE.tEsT. 60 A 192.0.2.25"}},
	{name: "out of zone", question: "other.test. A", rcode: dns.RcodeRefused, noAA: true, ede: 20},
	{name: "parent of the zone", question: "test. SOA", rcode: dns.RcodeRefused, noAA: true, ede: 20},
	{name: "root", question: ". NS", rcode: dns.RcodeRefused, noAA: true, ede: 20},
	{name: "suffix that is no parent", question: "notexample.test. A", rcode: dns.RcodeRefused, noAA: true, ede: 20},
	{name: "no transfer", question: "example.test. AXFR", rcode: dns.RcodeRefused, noAA: true, ede: 18},
	{name: "no incremental transfer", question: "example.test. IXFR", rcode: dns.RcodeRefused, noAA: true, ede: 18},
	{
		name: "a node without quorum still serves static records", question: "mail.example.test. A", age: time.Hour,
		answer: []string{"mail.example.test. 60 A 192.0.2.25"},
	},
}

var managedCases = []testCase{
	{name: "primary", question: "primary.pg.example.test. A", answer: []string{"primary.pg.example.test. 5 A 10.0.0.1"}},
	{name: "primary has no IPv6", question: "primary.pg.example.test. AAAA", ns: []string{soa7}},
	{name: "epoch", question: "primary.pg.example.test. TXT", answer: []string{`primary.pg.example.test. 5 TXT "epoch=7 holder=pg1"`}},
	{name: "replicas", question: "replica.pg.example.test. A", answer: []string{"replica.pg.example.test. 5 A 10.0.0.2"}},
	{name: "replicas IPv6", question: "replica.pg.example.test. AAAA", answer: []string{"replica.pg.example.test. 5 AAAA 2001:db8::3"}},
	{name: "member", question: "pg4.pg.example.test. A", answer: []string{"pg4.pg.example.test. 5 A 10.0.0.4"}},
	{name: "cluster is an empty non-terminal", question: "pg.example.test. A", ns: []string{soa7}},
	{name: "no such member", question: "pg9.pg.example.test. A", rcode: dns.RcodeNameError, ns: []string{soa7}},
	{
		name: "srv primary", question: "_postgresql._tcp.primary.pg.example.test. SRV",
		answer: []string{"_postgresql._tcp.primary.pg.example.test. 5 SRV 0 0 5432 pg1.pg.example.test."},
		extra:  []string{"pg1.pg.example.test. 5 A 10.0.0.1"},
	},
	{
		name: "srv replica", question: "_postgresql._tcp.replica.pg.example.test. SRV",
		answer: []string{
			"_postgresql._tcp.replica.pg.example.test. 5 SRV 0 0 5432 pg2.pg.example.test.",
			"_postgresql._tcp.replica.pg.example.test. 5 SRV 0 0 5432 pg3.pg.example.test.",
		},
		extra: []string{"pg2.pg.example.test. 5 A 10.0.0.2", "pg3.pg.example.test. 5 AAAA 2001:db8::3"},
	},
	{
		name: "alias of the primary", question: "db.example.test. A",
		answer: []string{"db.example.test. 60 CNAME primary.pg.example.test.", "primary.pg.example.test. 5 A 10.0.0.1"},
	},
	{
		name: "a short loss of contact is noted", question: "primary.pg.example.test. A", age: 5 * time.Second,
		answer: []string{"primary.pg.example.test. 5 A 10.0.0.1"}, ede: 3,
	},
	{name: "stale", question: "primary.pg.example.test. A", age: 11 * time.Second, rcode: dns.RcodeServerFailure, noAA: true, ede: 22},
	{name: "stale, other type", question: "primary.pg.example.test. AAAA", age: 11 * time.Second, rcode: dns.RcodeServerFailure, noAA: true, ede: 22},
	{name: "stale, type without a set", question: "primary.pg.example.test. MX", age: 11 * time.Second, rcode: dns.RcodeServerFailure, noAA: true, ede: 22},
	{name: "stale, any", question: "primary.pg.example.test. ANY", age: 11 * time.Second, rcode: dns.RcodeServerFailure, noAA: true, ede: 22},
	{name: "stale, behind an alias", question: "db.example.test. A", age: 11 * time.Second, rcode: dns.RcodeServerFailure, noAA: true, ede: 22},
	{name: "stale: what does not exist is unknown", question: "pg9.pg.example.test. A", age: 11 * time.Second, rcode: dns.RcodeServerFailure, noAA: true, ede: 22},
	{name: "never in contact", question: "replica.pg.example.test. A", age: 1<<63 - 1, rcode: dns.RcodeServerFailure, noAA: true, ede: 22},
}

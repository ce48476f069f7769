package dnsfailover

import (
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// ask puts a case through the packet path, without sockets.
func ask(t *testing.T, ix *index, c testCase) *dns.Msg {
	t.Helper()
	query, err := c.query(t).Pack()
	if err != nil {
		t.Fatal(err)
	}
	out, res := responder{}.respond(ix, c.age, query, transportTCP)
	if out == nil {
		t.Fatalf("%s: no reply: %+v", c.question, res)
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(out); err != nil {
		t.Fatalf("%s: reply does not parse: %v", c.question, err)
	}
	return reply
}

func TestResolve(t *testing.T) {
	ix := mustCompile(t, mustBuild(t, benchZones(), benchCluster()))
	for _, cases := range [][]testCase{staticCases, managedCases} {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) { c.check(t, ask(t, ix, c)) })
		}
	}
}

func TestResolveCNAMELoopEnds(t *testing.T) {
	ix := mustCompile(t, mustBuild(t, benchZones()))
	a := resolve(ix, 0, dns.Question{Name: "loop1.example.test.", Qtype: dns.TypeA, Qclass: dns.ClassINET})
	if a.rcode != dns.RcodeSuccess || len(a.answer) != maxChain {
		t.Fatalf("rcode %d with %d records, want 0 with %d", a.rcode, len(a.answer), maxChain)
	}
}

func TestResolveBeforeTheFirstView(t *testing.T) {
	testCase{question: "example.test. SOA", rcode: dns.RcodeServerFailure, noAA: true, ede: 14}.check(t,
		ask(t, nil, testCase{question: "example.test. SOA"}))
}

// TestResolveSharesNothing asks twice with other cases in between: an answer must
// not leave its mark on the records that all answers share.
func TestResolveSharesNothing(t *testing.T) {
	ix := mustCompile(t, mustBuild(t, benchZones(), benchCluster()))
	for range 2 {
		for _, c := range staticCases {
			c.check(t, ask(t, ix, c))
		}
	}
}

func TestPolicies(t *testing.T) {
	const stale = 11 * time.Second
	primary, last := target("pg1", "10.0.0.1"), target("pg1", "10.0.0.1")
	fallback := []netip.Addr{netip.MustParseAddr("10.9.9.9")}
	const name, srv = "primary.pg.example.test. ", "_postgresql._tcp.primary.pg.example.test. "
	const good, fixed = "primary.pg.example.test. 5 A 10.0.0.1", "primary.pg.example.test. 5 A 10.9.9.9"
	servfail := func(q string, ede int) testCase {
		return testCase{question: q, rcode: dns.RcodeServerFailure, noAA: true, ede: ede}
	}
	nodata := func(q string, ede int) testCase { return testCase{question: q, ns: []string{soa7}, ede: ede} }
	for _, tt := range []struct {
		name    string
		primary *Target
		last    *Target
		policy  RolePolicy
		age     time.Duration
		want    []testCase
	}{
		{name: "empty: default", want: []testCase{nodata(name+"A", 0), nodata(srv+"SRV", 0)}},
		{name: "empty: nodata", policy: RolePolicy{WhenEmpty: PolicyNoData}, want: []testCase{nodata(name+"A", 0)}},
		{
			name: "empty: servfail", policy: RolePolicy{WhenEmpty: PolicyServFail},
			want: []testCase{servfail(name+"A", 0), servfail(name+"AAAA", 0), servfail(srv+"SRV", 0), {
				question: name + "TXT", answer: []string{`primary.pg.example.test. 5 TXT "epoch=7 holder="`},
			}},
		},
		{
			name: "servfail needs a missing target, not a missing family", primary: &primary,
			policy: RolePolicy{WhenEmpty: PolicyServFail}, want: []testCase{nodata(name+"AAAA", 0)},
		},
		{
			name: "empty: last good", last: &last, policy: RolePolicy{WhenEmpty: PolicyLastGood},
			want: []testCase{{question: name + "A", answer: []string{good}}, {
				question: name + "TXT", answer: []string{`primary.pg.example.test. 5 TXT "epoch=7 holder="`},
			}},
		},
		{name: "empty: last good, nothing known", policy: RolePolicy{WhenEmpty: PolicyLastGood}, want: []testCase{nodata(name+"A", 0)}},
		{
			name: "empty: last good is fenced", last: &Target{Name: "pg1", Addrs: last.Addrs, Fenced: true},
			policy: RolePolicy{WhenEmpty: PolicyLastGood}, want: []testCase{nodata(name+"A", 0), nodata("pg1.pg.example.test. A", 0)},
		},
		{
			name: "empty: fixed", policy: RolePolicy{WhenEmpty: PolicyFixed, Fallback: fallback},
			want: []testCase{{question: name + "A", answer: []string{fixed}}, nodata(name+"AAAA", 0), {
				question: srv + "SRV",
				answer:   []string{"_postgresql._tcp.primary.pg.example.test. 5 SRV 0 0 5432 primary.pg.example.test."},
				extra:    []string{fixed},
			}},
		},
		{
			name: "fixed is not added to a target", primary: &primary, policy: RolePolicy{WhenEmpty: PolicyFixed, Fallback: fallback},
			want: []testCase{{question: name + "A", answer: []string{good}}},
		},
		{name: "stale: default", primary: &primary, age: stale, want: []testCase{servfail(name+"A", 22)}},
		{
			name: "stale: nodata", primary: &primary, age: stale, policy: RolePolicy{WhenStale: PolicyNoData},
			want: []testCase{nodata(name+"A", 22), nodata(srv+"SRV", 22)},
		},
		{
			name: "stale: last good", primary: &primary, age: stale, policy: RolePolicy{WhenStale: PolicyLastGood},
			want: []testCase{{question: name + "A", answer: []string{good}, ede: 3}},
		},
		{
			name: "stale: fixed", primary: &primary, age: stale, policy: RolePolicy{WhenStale: PolicyFixed, Fallback: fallback},
			want: []testCase{{question: name + "A", answer: []string{fixed}, ede: 22}, nodata(name+"AAAA", 22), nodata(name+"TXT", 22)},
		},
		{
			name: "max stale is the record's", primary: &primary, age: stale, policy: RolePolicy{MaxStale: time.Minute},
			want: []testCase{{question: name + "A", answer: []string{good}, ede: 3}},
		},
		{
			name: "exactly max stale is not stale", primary: &primary, age: DefaultMaxStale,
			want: []testCase{{question: name + "A", answer: []string{good}, ede: 3}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cluster := ClusterView{
				Name: "pg", Zone: "example.test.", Epoch: 7, TTL: 5,
				Primary: tt.primary, LastPrimary: tt.last, PrimaryPolicy: tt.policy,
			}
			ix := mustCompile(t, mustBuild(t, benchZones(), cluster))
			for _, c := range tt.want {
				c.age = tt.age
				c.check(t, ask(t, ix, c))
			}
		})
	}
}

func TestBrokenSetIsServFail(t *testing.T) {
	view := &View{Index: 1, Zones: []Zone{{Name: "example.test.", Records: []RRset{
		{Name: "bad.example.test.", Type: dns.TypeA, Values: []string{"192.0.2.1", "nonsense"}},
		{Name: "good.example.test.", Type: dns.TypeA, TTL: 9, Values: []string{"192.0.2.1"}},
	}}}}
	ix, err := compile(view)
	if err == nil {
		t.Fatal("no fault reported")
	}
	testCase{question: "bad.example.test. A", rcode: dns.RcodeServerFailure, noAA: true, ede: 24}.check(t,
		ask(t, ix, testCase{question: "bad.example.test. A"}))
	testCase{question: "good.example.test. A", answer: []string{"good.example.test. 9 A 192.0.2.1"}}.check(t,
		ask(t, ix, testCase{question: "good.example.test. A"}))
}

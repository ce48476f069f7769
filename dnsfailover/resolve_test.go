package dnsfailover

import (
	"slices"
	"strings"
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
	a := resolve(ix, 0, dns.Question{Name: "loop1.example.test.", Qtype: dns.TypeA, Qclass: dns.ClassINET}, false)
	if a.rcode != dns.RcodeSuccess || len(a.answer) != maxChain {
		t.Fatalf("rcode %d with %d records, want 0 with %d", a.rcode, len(a.answer), maxChain)
	}
}

func TestResolveBeforeTheFirstView(t *testing.T) {
	testCase{question: "example.test. SOA", rcode: dns.RcodeServerFailure, noAA: true, ede: 14}.check(t,
		ask(t, nil, testCase{question: "example.test. SOA"}))
}

// TestAnswersShareNothing asks everything, with the case changed too: no answer
// may leave its mark on the records that all answers share.
func TestAnswersShareNothing(t *testing.T) {
	ix := mustCompile(t, mustBuild(t, benchZones(), benchCluster()))
	before := allRecords(ix)
	for _, c := range slices.Concat(staticCases, managedCases) {
		ask(t, ix, c)
		c.question = strings.ToUpper(c.question)
		ask(t, ix, c)
	}
	if after := allRecords(ix); !slices.Equal(before, after) {
		t.Errorf("records changed:\n%v\n%v", before, after)
	}
}

func allRecords(ix *index) []string {
	var out []string
	for _, z := range ix.zones {
		out = append(out, z.negSOA.String())
		for _, n := range z.nodes {
			for _, s := range n.sets {
				for _, rr := range slices.Concat(s.rrs, s.fallback) {
					out = append(out, rr.String())
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// policyCase is a state of one cluster and what is answered about it.
type policyCase struct {
	name    string
	primary *Target
	last    *Target
	policy  RolePolicy
	age     time.Duration
	want    []testCase
}

func (p policyCase) run(t *testing.T) {
	cluster := ClusterView{
		Name: "pg", Zone: "example.test.", Epoch: 7, TTL: 5,
		Primary: p.primary, LastPrimary: p.last, PrimaryPolicy: p.policy,
	}
	ix := mustCompile(t, mustBuild(t, benchZones(), cluster))
	for _, c := range p.want {
		c.age = p.age
		c.check(t, ask(t, ix, c))
	}
}

const (
	primaryName  = "primary.pg.example.test. "
	primarySRV   = "_postgresql._tcp.primary.pg.example.test. "
	goodRecord   = "primary.pg.example.test. 5 A 10.0.0.1"
	fixedRecord  = "primary.pg.example.test. 5 A 10.9.9.9"
	noHolderText = `primary.pg.example.test. 5 TXT "epoch=7 holder="`
)

func servfail(q string, ede int) testCase {
	return testCase{question: q, rcode: dns.RcodeServerFailure, noAA: true, ede: ede}
}

func nodata(q string, ede int) testCase {
	return testCase{question: q, ns: []string{soa7}, ede: ede}
}

func TestPoliciesWhenEmpty(t *testing.T) {
	primary, last := target("pg1", "10.0.0.1"), target("pg1", "10.0.0.1")
	fallback := addrs("10.9.9.9")
	for _, tt := range []policyCase{
		{name: "empty: default", want: []testCase{nodata(primaryName+"A", 0), nodata(primarySRV+"SRV", 0)}},
		{name: "empty: nodata", policy: RolePolicy{WhenEmpty: PolicyNoData}, want: []testCase{nodata(primaryName+"A", 0)}},
		{
			name: "empty: servfail", policy: RolePolicy{WhenEmpty: PolicyServFail},
			want: []testCase{servfail(primaryName+"A", 0), servfail(primaryName+"AAAA", 0), servfail(primarySRV+"SRV", 0), {
				question: primaryName + "TXT", answer: []string{noHolderText},
			}},
		},
		{
			name: "servfail needs a missing target, not a missing family", primary: &primary,
			policy: RolePolicy{WhenEmpty: PolicyServFail}, want: []testCase{nodata(primaryName+"AAAA", 0)},
		},
		{
			name: "empty: last good", last: &last, policy: RolePolicy{WhenEmpty: PolicyLastGood},
			want: []testCase{{question: primaryName + "A", answer: []string{goodRecord}}, {
				question: primaryName + "TXT", answer: []string{noHolderText},
			}},
		},
		{name: "empty: last good, nothing known", policy: RolePolicy{WhenEmpty: PolicyLastGood}, want: []testCase{nodata(primaryName+"A", 0)}},
		{
			name: "empty: last good is fenced", last: &Target{Name: "pg1", Addrs: last.Addrs, Fenced: true},
			policy: RolePolicy{WhenEmpty: PolicyLastGood}, want: []testCase{nodata(primaryName+"A", 0), nodata("pg1.pg.example.test. A", 0)},
		},
		{
			name: "empty: fixed", policy: RolePolicy{WhenEmpty: PolicyFixed, Fallback: fallback},
			want: []testCase{{question: primaryName + "A", answer: []string{fixedRecord}}, nodata(primaryName+"AAAA", 0), {
				question: primarySRV + "SRV",
				answer:   []string{"_postgresql._tcp.primary.pg.example.test. 5 SRV 0 0 5432 primary.pg.example.test."},
				extra:    []string{fixedRecord},
			}},
		},
		{
			name: "fixed is not added to a target", primary: &primary, policy: RolePolicy{WhenEmpty: PolicyFixed, Fallback: fallback},
			want: []testCase{{question: primaryName + "A", answer: []string{goodRecord}}},
		},
	} {
		t.Run(tt.name, tt.run)
	}
}

func TestPoliciesWhenStale(t *testing.T) {
	const stale = 11 * time.Second
	primary := target("pg1", "10.0.0.1")
	fallback := addrs("10.9.9.9")
	for _, tt := range []policyCase{
		{name: "stale: default", primary: &primary, age: stale, want: []testCase{servfail(primaryName+"A", 22)}},
		{
			name: "stale: nodata", primary: &primary, age: stale, policy: RolePolicy{WhenStale: PolicyNoData},
			want: []testCase{nodata(primaryName+"A", 22), nodata(primarySRV+"SRV", 22)},
		},
		{
			name: "stale: last good", primary: &primary, age: stale, policy: RolePolicy{WhenStale: PolicyLastGood},
			want: []testCase{{question: primaryName + "A", answer: []string{goodRecord}, ede: 3}},
		},
		{
			name: "stale: fixed", primary: &primary, age: stale, policy: RolePolicy{WhenStale: PolicyFixed, Fallback: fallback},
			want: []testCase{{question: primaryName + "A", answer: []string{fixedRecord}, ede: 22}, nodata(primaryName+"AAAA", 22), nodata(primaryName+"TXT", 22)},
		},
		{
			name: "max stale is the record's", primary: &primary, age: stale, policy: RolePolicy{MaxStale: time.Minute},
			want: []testCase{{question: primaryName + "A", answer: []string{goodRecord}, ede: 3}},
		},
		{
			name: "exactly max stale is not stale", primary: &primary, age: DefaultMaxStale,
			want: []testCase{{question: primaryName + "A", answer: []string{goodRecord}, ede: 3}},
		},
	} {
		t.Run(tt.name, tt.run)
	}
}

func TestBrokenSetIsServFail(t *testing.T) {
	view := &View{Index: 1, Zones: []Zone{{Name: "example.test.", Records: []RRset{
		{Name: "bad.example.test.", Type: dns.TypeA, Values: []string{"192.0.2.1", "nonsense"}},
		{Name: "good.example.test.", Type: dns.TypeA, TTL: 9, Values: []string{"192.0.2.1"}},
	}}}}
	ix, err := compile(view, nil)
	if err == nil {
		t.Fatal("no fault reported")
	}
	testCase{question: "bad.example.test. A", rcode: dns.RcodeServerFailure, noAA: true, ede: 24}.check(t,
		ask(t, ix, testCase{question: "bad.example.test. A"}))
	testCase{question: "good.example.test. A", answer: []string{"good.example.test. 9 A 192.0.2.1"}}.check(t,
		ask(t, ix, testCase{question: "good.example.test. A"}))
}

package dnsfailover

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range texts {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// values returns the values of one set of a view; ok is false without the set.
func values(view *View, name string, typ uint16) (list []string, ok bool) {
	for _, z := range view.Zones {
		for _, rs := range z.Records {
			if rs.Name == name && rs.Type == typ {
				return rs.Values, true
			}
		}
	}
	return nil, false
}

func checkValues(t *testing.T, view *View, name string, typ uint16, want ...string) {
	t.Helper()
	got, ok := values(view, name, typ)
	if !ok {
		t.Errorf("%s %s: no such set", name, typeName(typ))
	}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%s %s: %q, want %q", name, typeName(typ), got, want)
	}
}

func TestBuildFencedPrimary(t *testing.T) {
	c := benchCluster()
	c.Members[0].Fenced = true // said of the member: holds for the holder too
	zones := benchZones()
	zones[0].Records = append(zones[0].Records,
		RRset{Name: "old", Type: dns.TypeA, Values: []string{"10.0.0.1", "192.0.2.5"}},
		RRset{Name: "only", Type: dns.TypeA, Values: []string{"10.0.0.1"}},
		RRset{Name: "mapped", Type: dns.TypeAAAA, Values: []string{"::ffff:10.0.0.1"}},
		RRset{Name: "hint", Type: dns.TypeHTTPS, Values: []string{`1 . ipv4hint="192.0.2.9,10.0.0.1"`, `2 . ipv4hint="192.0.2.9"`}})
	view := mustBuild(t, zones, c)
	for _, name := range []string{"primary.pg.example.test.", "pg1.pg.example.test.", "only.example.test."} {
		checkValues(t, view, name, dns.TypeA)
	}
	checkValues(t, view, "mapped.example.test.", dns.TypeAAAA)
	checkValues(t, view, "old.example.test.", dns.TypeA, "192.0.2.5")
	checkValues(t, view, "hint.example.test.", dns.TypeHTTPS, `2 . ipv4hint="192.0.2.9"`)
	checkValues(t, view, "_postgresql._tcp.primary.pg.example.test.", dns.TypeSRV)
	checkValues(t, view, "primary.pg.example.test.", dns.TypeTXT, `"epoch=7 holder="`)
	checkValues(t, view, "replica.pg.example.test.", dns.TypeA, "10.0.0.2")
	ix := mustCompile(t, view)
	for _, q := range []string{"pg1.pg.example.test. A", "only.example.test. A", "primary.pg.example.test. A"} {
		c := testCase{question: q, ns: []string{soa7}}
		c.check(t, ask(t, ix, c))
	}
}

// TestBuildFencedInAnotherCluster has one host under two names.
func TestBuildFencedInAnotherCluster(t *testing.T) {
	other := ClusterView{Name: "mq", Zone: "example.test", Members: []Target{{Name: "node", Addrs: addrs("10.0.0.1"), Fenced: true}}}
	view := mustBuild(t, benchZones(), benchCluster(), other)
	checkValues(t, view, "primary.pg.example.test.", dns.TypeA)
	checkValues(t, view, "primary.pg.example.test.", dns.TypeTXT, `"epoch=7 holder="`)
}

func TestBuildSettings(t *testing.T) {
	c := benchCluster()
	c.Service, c.Port, c.TTL = "_mysql._tcp", 3306, 0
	c.Replicas = append(c.Replicas, *c.Primary, Target{Name: "far", Addrs: addrs("10.0.0.9"), Port: 6000})
	view := mustBuild(t, benchZones(), c)
	checkValues(t, view, "_mysql._tcp.primary.pg.example.test.", dns.TypeSRV, "0 0 3306 pg1.pg.example.test.")
	checkValues(t, view, "_mysql._tcp.replica.pg.example.test.", dns.TypeSRV, "0 0 3306 pg2.pg.example.test.",
		"0 0 3306 pg3.pg.example.test.", "0 0 6000 far.pg.example.test.")
	checkValues(t, view, "far.pg.example.test.", dns.TypeA, "10.0.0.9")
	for _, rs := range view.Zones[0].Records {
		if rs.Managed && rs.TTL != 60 {
			t.Errorf("%s has the TTL %d, want the zone's", rs.Name, rs.TTL)
		}
	}
}

// TestBuildDefaults also has the negative TTL follow the SOA's when that is shorter.
func TestBuildDefaults(t *testing.T) {
	zone := ZoneSpec{Name: "Example.TEST", NS: []NameServer{{Name: "ns", Addrs: addrs("192.0.2.1")}}}
	view, err := Build(1<<32+5, []ZoneSpec{zone}, nil)
	if err != nil {
		t.Fatal(err)
	}
	z := view.Zones[0]
	if z.Name != "example.test." || z.Serial != 5 || z.TTL != 5 || z.NegativeTTL != 5 || z.NSTTL != 3600 || z.Admin != "hostmaster.example.test." {
		t.Errorf("zone %+v", z)
	}
	zone.TTL, zone.NegativeTTL = 3, 900
	c := testCase{
		question: "no.example.test. A", rcode: dns.RcodeNameError,
		ns: []string{"example.test. 3 SOA ns.example.test. hostmaster.example.test. 42 1200 180 1209600 900"},
	}
	c.check(t, ask(t, mustCompile(t, mustBuild(t, []ZoneSpec{zone})), c))
}

func TestBuildLeavesOutWhatIsFaulty(t *testing.T) {
	good := benchCluster()
	zones := append(benchZones(), ZoneSpec{Name: "bad zone", NS: []NameServer{{Name: "ns"}}})
	zones[0].Records = append(zones[0].Records,
		RRset{Name: "broken", Type: dns.TypeA, Values: []string{"192.0.2.300"}},
		RRset{Name: "primary.pg", Type: dns.TypeA, Values: []string{"192.0.2.66"}})
	reserved := target("replica", "10.0.0.7")
	good.Members = append(good.Members, target("node.with.dots", "10.0.0.5"), reserved)
	good.Primary = &good.Members[4]
	view, err := Build(42, zones, []ClusterView{
		good, good,
		{Name: "pg", Zone: "nowhere.test"},
		{Name: "a.b", Zone: "example.test"},
		{Name: "odd", Zone: "example.test", PrimaryPolicy: RolePolicy{WhenEmpty: "sometimes", WhenStale: PolicyFixed}},
	})
	for _, want := range []string{
		`zone "bad zone" is not served`, "broken.example.test. A is not served", "primary.pg.example.test. A is not served",
		`member "node.with.dots" gets no name`, `name "replica" is reserved`, `cluster "pg" of zone example.test. appears twice`,
		`no zone "nowhere.test"`, `cluster "a.b" is not published`, `"sometimes" of primary is unknown`, "fixed without a fallback",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no fault %q in:\n%v", want, err)
		}
	}
	checkValues(t, view, "primary.pg.example.test.", dns.TypeA, "10.0.0.5")
	checkValues(t, view, "_postgresql._tcp.primary.pg.example.test.", dns.TypeSRV, "0 0 5432 primary.pg.example.test.")
	if _, ok := values(view, "broken.example.test.", dns.TypeA); ok {
		t.Error("a broken record is in the view")
	}
	mustCompile(t, view)
}

func TestBuildIsPure(t *testing.T) {
	zones, clusters := benchZones(), []ClusterView{benchCluster()}
	clusters[0].Members[1].Fenced = true
	first := mustBuild(t, zones, clusters...)
	if second := mustBuild(t, zones, clusters...); !reflect.DeepEqual(first, second) {
		t.Error("two builds of one state differ")
	}
	untouched := benchCluster()
	untouched.Members[1].Fenced = true
	if !reflect.DeepEqual(zones, benchZones()) || !reflect.DeepEqual(clusters[0], untouched) {
		t.Error("Build changed its input")
	}
}

func TestHolderIsQuoted(t *testing.T) {
	c := benchCluster()
	c.Primary = &Target{Name: `a"b\c` + "\n; evil", Addrs: addrs("10.0.0.1")}
	c.Members = nil
	view, _ := Build(1, benchZones(), []ClusterView{c})
	a := resolve(mustCompile(t, view), 0, dns.Question{Name: "primary.pg.example.test.", Qtype: dns.TypeTXT, Qclass: dns.ClassINET}, false)
	if len(a.answer) != 1 {
		t.Fatalf("answer %v", a)
	}
	packed := make([]byte, 512)
	n, err := dns.PackRR(a.answer[0], packed, 0, nil, false)
	if err != nil || !strings.Contains(string(packed[:n]), "holder="+c.Primary.Name) {
		t.Errorf("wire form %q, %v", packed[:n], err)
	}
}

func TestValidateZones(t *testing.T) {
	if err := ValidateZones(benchZones()); err != nil {
		t.Fatalf("a good configuration: %v", err)
	}
	ns := []NameServer{{Name: "ns", Addrs: addrs("192.0.2.1")}}
	rr := func(name string, typ uint16, values ...string) RRset {
		return RRset{Name: name, Type: typ, Values: values}
	}
	for _, tt := range []struct {
		name  string
		zones []ZoneSpec
		want  []string
	}{
		{"names", []ZoneSpec{{Name: ".", NS: ns}, {Name: "-a.test", NS: ns}, {Name: "a..test", NS: ns}}, []string{"root", "hyphen", "empty label"}},
		{"twice", []ZoneSpec{{Name: "a.test", NS: ns}, {Name: "A.test.", NS: ns}}, []string{"configured twice (zones 1 and 2)"}},
		{"overlap", []ZoneSpec{{Name: "b.a.test", NS: ns}, {Name: "a.test", NS: ns}, {Name: "ba.test", NS: ns}}, []string{"b.a.test. and a.test. overlap"}},
		{"no name server", []ZoneSpec{{Name: "a.test"}}, []string{"no name server"}},
		{"name server without address", []ZoneSpec{{Name: "a.test", NS: []NameServer{{Name: "ns"}, {Name: "ns.b.test."}, {Name: "x", Addrs: addrs("0.0.0.0")}}}}, []string{"ns.a.test. lies in the zone and has no address", "0.0.0.0"}},
		{"admin", []ZoneSpec{{Name: "a.test", NS: ns, Admin: "no body"}}, []string{"is no mailbox"}},
		{"records", []ZoneSpec{{Name: "a.test", NS: ns, Records: []RRset{
			rr("x", dns.TypeA), rr("x.b.test.", dns.TypeA, "192.0.2.1"), rr("a b", dns.TypeA, "192.0.2.1"), rr("@", dns.TypeNS, "ns"),
			rr("sub", dns.TypeNS, "ns"), rr("d", dns.TypeDNAME, "x"), rr("k", dns.TypeDNSKEY, "x"), rr("@", dns.TypeCNAME, "x"),
			rr("c", dns.TypeCNAME, "x", "y"), rr("m", 250, `\# 0`), rr("ns", dns.TypeA, "192.0.2.2"), rr("v6", dns.TypeAAAA, "192.0.2.2"),
			rr("n", dns.TypeTXT, "\"a\"\nb.a.test. A 1.2.3.4"), rr("s", dns.TypeSRV, "1 2 x"),
			{Name: "t", Type: dns.TypeA, TTL: 1 << 31, Values: []string{"192.0.2.1"}},
			rr("e", dns.TypeA, "192.0.2.1"), rr("e", dns.TypeA, "192.0.2.2"), rr("e", dns.TypeCNAME, "x"),
			{Name: "g", Type: dns.TypeA, Managed: true, Values: []string{"192.0.2.1"}},
			rr("huge", dns.TypeTXT, strings.Repeat(`"`+strings.Repeat("x", 255)+`" `, 253)),
		}}}, []string{
			"x.a.test. A is not served: it has no values", "outside the zone", "has the character ' '", "makes SOA and NS", "delegations",
			"DNAME is not", "DNSSEC", "cannot stand at the apex", "exactly one value", "no data type", "set with the name server", "not an IPv6 address",
			"line break", "s.a.test. SRV", "2147483647", "appears twice", "beside other records (A)", "cannot be managed", "more than one answer holds",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := ValidateZones(tt.zones)
			if err == nil {
				t.Fatal("no fault found")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no fault %q in:\n%v", want, err)
				}
			}
			if got := strings.Count(err.Error(), "\n") + 1; got < len(tt.want) {
				t.Errorf("%d faults for %d", got, len(tt.want))
			}
			if strings.Contains(err.Error(), "ba.test") {
				t.Errorf("a good zone is reported: %v", err)
			}
		})
	}
}

// A cluster whose service nobody names has no SRV records, and all else.
func TestNoService(t *testing.T) {
	c := benchCluster()
	c.NoService = true
	ix := mustCompile(t, mustBuild(t, benchZones(), c))
	for name, n := range ix.names {
		if strings.HasPrefix(name, "_") || n.find(dns.TypeSRV) != nil && strings.HasSuffix(name, ".pg.example.test.") {
			t.Errorf("%s exists", name)
		}
	}
	if n := ix.names["primary.pg.example.test."]; n == nil || n.find(dns.TypeA) == nil || len(n.find(dns.TypeA).rrs) == 0 {
		t.Error("the primary has no address")
	}
}

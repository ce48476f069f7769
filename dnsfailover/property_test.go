package dnsfailover

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0 takes a new one")

// gen makes random states from few hosts and addresses, so that they collide.
type gen struct{ *rand.Rand }

func (g gen) addr() netip.Addr {
	if g.IntN(3) == 0 {
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(g.IntN(8))})
	}
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(g.IntN(12))})
}

func (g gen) addrs() (out []netip.Addr) {
	for range g.IntN(3) {
		out = append(out, g.addr())
	}
	return out
}

func (g gen) target() Target {
	return Target{Name: fmt.Sprintf("h%d", g.IntN(5)), Addrs: g.addrs(), Fenced: g.IntN(4) == 0, Port: uint16(g.IntN(3))}
}

func (g gen) targets() (out []Target) {
	for range g.IntN(4) {
		out = append(out, g.target())
	}
	return out
}

func (g gen) maybe() *Target {
	if g.IntN(3) == 0 {
		return nil
	}
	t := g.target()
	return &t
}

func (g gen) policy() RolePolicy {
	all := []Policy{"", PolicyNoData, PolicyServFail, PolicyLastGood, PolicyFixed}
	return RolePolicy{
		WhenEmpty: all[g.IntN(len(all))], WhenStale: all[g.IntN(len(all))],
		MaxStale: time.Duration(g.IntN(3)) * time.Minute, Fallback: g.addrs(),
	}
}

func (g gen) state() ([]ZoneSpec, []ClusterView) {
	zone := ZoneSpec{Name: "example.test", NS: []NameServer{{Name: "ns1", Addrs: g.addrs()}, {Name: "ns.other.test."}}}
	for i := range 6 {
		rs := RRset{Name: fmt.Sprintf("s%d", i), Type: dns.TypeA}
		if addr := g.addr(); addr.Is4() {
			rs.Values = []string{addr.String()}
		} else {
			rs.Type, rs.Values = dns.TypeHTTPS, []string{fmt.Sprintf(`1 . ipv6hint="%s"`, addr)}
		}
		zone.Records = append(zone.Records, rs)
	}
	zone.Records = append(zone.Records, RRset{Name: "*", Type: dns.TypeCNAME, Values: []string{"primary.c0"}})
	var clusters []ClusterView
	for i := range 1 + g.IntN(3) {
		clusters = append(clusters, ClusterView{
			Name: fmt.Sprintf("c%d", i), Zone: "example.test", Epoch: g.Uint64N(9),
			Primary: g.maybe(), LastPrimary: g.maybe(), Replicas: g.targets(), LastReplicas: g.targets(),
			Members: g.targets(), PrimaryPolicy: g.policy(), ReplicaPolicy: g.policy(),
		})
	}
	return []ZoneSpec{zone}, clusters
}

// TestNoAnswerNamesAFencedTarget asks every name of random states for every type,
// in contact and out of contact.
func TestNoAnswerNamesAFencedTarget(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("replay with -seed %d", seed)
	g := gen{rand.New(rand.NewPCG(seed, 0))}
	fencedStates, addresses := 0, 0
	for range 300 {
		zones, clusters := g.state()
		view, _ := Build(1, zones, clusters) // faults are part of what is tested
		ix, err := compile(view, nil)
		if err != nil {
			t.Fatalf("a built view does not compile: %v", err)
		}
		check := newFenceCheck(clusters)
		if len(check.addrs) > 0 {
			fencedStates++
		}
		names := []string{"nothing.at.all.example.test."}
		for name := range ix.zones["example.test."].nodes {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeSRV, dns.TypeHTTPS, dns.TypeNS, dns.TypeANY, dns.TypeMX} {
				for _, age := range []time.Duration{0, 5 * time.Second, time.Hour} {
					a := resolve(ix, age, dns.Question{Name: name, Qtype: typ, Qclass: dns.ClassINET}, false)
					addresses += check.answer(t, name, typ, a)
					if name != names[0] && a.rcode == dns.RcodeNameError {
						t.Errorf("%s %s: NXDOMAIN for a name that exists", name, typeName(typ))
					}
					if a.rcode == dns.RcodeSuccess && len(a.answer)+len(a.authority) == 0 {
						t.Errorf("%s %s: nothing, and no SOA", name, typeName(typ))
					}
				}
			}
		}
		if t.Failed() {
			t.Fatalf("state: %+v\n%+v", zones, clusters)
		}
	}
	if fencedStates < 100 || addresses < 1000 {
		t.Errorf("the test saw %d states with a fenced target and %d addresses: too few to mean anything", fencedStates, addresses)
	}
}

// fenceCheck knows, apart from the code under test, what must not be named.
type fenceCheck struct {
	addrs map[netip.Addr]bool
	names map[string]bool // host names below the zone
}

func newFenceCheck(clusters []ClusterView) fenceCheck {
	c := fenceCheck{map[netip.Addr]bool{}, map[string]bool{}}
	add := func(cluster string, targets ...Target) {
		for _, t := range targets {
			if !t.Fenced {
				continue
			}
			c.names[t.Name+"."+cluster+".example.test."] = true
			for _, a := range t.Addrs {
				c.addrs[a] = true
			}
		}
	}
	for _, v := range clusters {
		add(v.Name, v.Members...)
		add(v.Name, v.Replicas...)
		add(v.Name, v.LastReplicas...)
		for _, t := range []*Target{v.Primary, v.LastPrimary} {
			if t != nil {
				add(v.Name, *t)
			}
		}
	}
	return c
}

// answer checks one answer and returns how many addresses were in it.
func (c fenceCheck) answer(t *testing.T, name string, typ uint16, a answer) (addresses int) {
	t.Helper()
	for _, rr := range slices.Concat(a.answer, a.additional) {
		var addr netip.Addr
		switch rr := rr.(type) {
		case *dns.A:
			addr, _ = netip.AddrFromSlice(rr.A.To4())
		case *dns.AAAA:
			addr, _ = netip.AddrFromSlice(rr.AAAA)
		case *dns.HTTPS:
			addr, _ = netip.AddrFromSlice(rr.Value[0].(*dns.SVCBIPv6Hint).Hint[0])
		case *dns.SRV:
			if c.names[rr.Target] {
				t.Errorf("%s %s names the fenced host %s", name, typeName(typ), rr.Target)
			}
			continue
		case *dns.TXT:
			_, holder, _ := strings.Cut(rr.Txt[0], "holder=")
			_, cluster, _ := strings.Cut(rr.Hdr.Name, "primary.")
			if c.names[holder+"."+cluster] {
				t.Errorf("%s %s names the fenced holder %s", name, typeName(typ), holder)
			}
			continue
		default:
			continue
		}
		addresses++
		if c.addrs[addr] {
			t.Errorf("%s %s names the fenced address %s", name, typeName(typ), addr)
		}
	}
	return addresses
}

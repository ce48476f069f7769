//go:build integration

package dns

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"quorate/dnsfailover"
)

// signedView has a cluster without a primary beside static records, a wildcard and an
// empty non-terminal: everything that has to be denied in its own way.
func signedView(t *testing.T, keys []dnsfailover.SigningKey) *dnsfailover.View {
	t.Helper()
	rs := func(name string, typ uint16, values ...string) dnsfailover.RRset {
		return dnsfailover.RRset{Name: name, Type: typ, TTL: 5, Values: values}
	}
	zone := dnsfailover.ZoneSpec{
		Name: Apex, Keys: keys, SignedAt: time.Now(),
		NS: []dnsfailover.NameServer{{Name: "ns1." + Apex, Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}},
		Records: []dnsfailover.RRset{
			rs("h1", dns.TypeA, "192.0.2.11"), rs("*.wild", dns.TypeA, "192.0.2.12"), rs("a.b.deep", dns.TypeTXT, `"far down"`),
			rs("alias", dns.TypeCNAME, "h1"), rs("dangling", dns.TypeCNAME, "nx"),
		},
	}
	member := func(name, addr string, fenced bool) dnsfailover.Target {
		return dnsfailover.Target{Name: name, Addrs: []netip.Addr{netip.MustParseAddr(addr)}, Fenced: fenced}
	}
	pg1, pg2 := member("pg1", "192.0.2.21", false), member("pg2", "192.0.2.22", true)
	view, err := dnsfailover.Build(9, []dnsfailover.ZoneSpec{zone}, []dnsfailover.ClusterView{{
		Name: "pg", Zone: Apex, Epoch: 3, Primary: &pg1, Members: []dnsfailover.Target{pg1, pg2},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// TestValidators lets delv and unbound judge each kind of answer, and ldns-verify-zone
// the zone as a whole, for one key and for two.
func TestValidators(t *testing.T) {
	csk, err := dnsfailover.NewSigningKey(Apex, true)
	if err != nil {
		t.Fatal(err)
	}
	zsk, err := dnsfailover.NewSigningKey(Apex, false)
	if err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string][]dnsfailover.SigningKey{"one key": {csk}, "two keys": {csk, zsk}} {
		t.Run(name, func(t *testing.T) { validators(t, csk, keys) })
	}
}

func validators(t *testing.T, csk dnsfailover.SigningKey, keys []dnsfailover.SigningKey) {
	source := new(dnsfailover.StaticSource)
	source.Set(signedView(t, keys))
	addr := runServer(t, dnsfailover.Config{
		Source:   source,
		Transfer: dnsfailover.Transfer{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	})
	ds, err := csk.DS(Apex)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	parts := strings.Fields(ds) // name ttl class DS tag algorithm digest-type digest
	anchor := write(t, dir, "anchor", fmt.Sprintf("trust-anchors { %s static-ds %s %s %s %q; };\n", Apex, parts[4], parts[5], parts[6], parts[7]))
	resolver := startUnbound(t, addr, ds)
	for _, tt := range []struct {
		name  string
		typ   uint16
		rcode int
		count int // records of the answer, signatures not counted
	}{
		{"bench.test.", dns.TypeSOA, dns.RcodeSuccess, 1},
		{"bench.test.", dns.TypeDNSKEY, dns.RcodeSuccess, len(keys)},
		{"bench.test.", dns.TypeMX, dns.RcodeSuccess, 0},
		{"h1.bench.test.", dns.TypeA, dns.RcodeSuccess, 1},
		{"H1.bEnch.test.", dns.TypeA, dns.RcodeSuccess, 1},
		{"h1.bench.test.", dns.TypeAAAA, dns.RcodeSuccess, 0},
		{"alias.bench.test.", dns.TypeA, dns.RcodeSuccess, 2},
		{"dangling.bench.test.", dns.TypeA, dns.RcodeNameError, 1},
		{"nx.bench.test.", dns.TypeA, dns.RcodeNameError, 0},
		{"aa.bench.test.", dns.TypeA, dns.RcodeNameError, 0},
		{"zz.bench.test.", dns.TypeA, dns.RcodeNameError, 0},
		{"x.y.h1.bench.test.", dns.TypeA, dns.RcodeNameError, 0},
		{"x.wild.bench.test.", dns.TypeA, dns.RcodeSuccess, 1},
		{"x.y.wild.bench.test.", dns.TypeA, dns.RcodeSuccess, 1},
		{"x.wild.bench.test.", dns.TypeAAAA, dns.RcodeSuccess, 0},
		{"b.deep.bench.test.", dns.TypeA, dns.RcodeSuccess, 0}, // an empty non-terminal
		{"primary.pg.bench.test.", dns.TypeA, dns.RcodeSuccess, 1},
		{"primary.pg.bench.test.", dns.TypeAAAA, dns.RcodeSuccess, 0},
		{"_postgresql._tcp.primary.pg.bench.test.", dns.TypeSRV, dns.RcodeSuccess, 1},
		{"replica.pg.bench.test.", dns.TypeA, dns.RcodeSuccess, 0}, // withdrawn
		{"pg2.pg.bench.test.", dns.TypeA, dns.RcodeSuccess, 0},     // fenced
		{"_postgresql._tcp.replica.pg.bench.test.", dns.TypeSRV, dns.RcodeSuccess, 0},
	} {
		what := tt.name + " " + dns.TypeToString[tt.typ]
		out, err := exec.Command("delv", "@127.0.0.1", "-p", fmt.Sprint(addr.Port()), "-a", anchor, "+root="+Apex, tt.name, dns.TypeToString[tt.typ]).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "fully validated") {
			t.Errorf("delv %s: %v\n%s", what, err, out)
		}
		m := new(dns.Msg).SetQuestion(tt.name, tt.typ)
		m.SetEdns0(1232, true)
		reply, _, err := (&dns.Client{Timeout: 20 * time.Second}).Exchange(m, resolver.String())
		if err != nil {
			t.Errorf("unbound %s: %v", what, err)
			continue
		}
		count := 0
		for _, rr := range reply.Answer {
			if rr.Header().Rrtype != dns.TypeRRSIG {
				count++
			}
		}
		if reply.Rcode != tt.rcode || count != tt.count || !reply.AuthenticatedData {
			t.Errorf("unbound %s: want %s with %d records, validated; got\n%s", what, dns.RcodeToString[tt.rcode], tt.count, reply)
		}
	}
	zone := strings.Join(zoneFrom(t, addr, false), "\n") + "\n"
	file := write(t, dir, "zone", zone)
	if out, err := exec.Command("ldns-verify-zone", file).CombinedOutput(); err != nil {
		t.Errorf("ldns-verify-zone: %v\n%s\n%s", err, out, zone)
	}
}

// startUnbound runs a validating resolver in front of a server and returns its address.
func startUnbound(t *testing.T, upstream netip.AddrPort, ds string) netip.AddrPort {
	t.Helper()
	dir, port := t.TempDir(), freePort(t)
	write(t, dir, "ds", ds+"\n")
	conf := write(t, dir, "unbound.conf", fmt.Sprintf(`
server:
	interface: 127.0.0.1
	port: %d
	username: ""
	chroot: ""
	directory: %q
	pidfile: "pid"
	use-syslog: no
	do-daemonize: no
	do-not-query-localhost: no
	local-zone: "test." nodefault
	module-config: "validator iterator"
	trust-anchor-file: "ds"
	val-log-level: 2
remote-control:
	control-enable: no
stub-zone:
	name: %q
	stub-addr: 127.0.0.1@%d
`, port, dir, Apex, upstream.Port()))
	return start(t, "unbound", port, nil, "unbound", "-d", "-c", conf).addr
}

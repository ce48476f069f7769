//go:build integration

package dns

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"quorate/dnsfailover"
)

const (
	bound     = 2 * time.Minute
	keyName   = "xfr.bench.test"
	keySecret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
)

// TestSecondaries lets Debian's Knot and NSD follow a zone of ours by NOTIFY, IXFR
// and AXFR, all signed, through many random changes, and compares what they serve
// with what we serve.
func TestSecondaries(t *testing.T) {
	knotPort, nsdPort := freePort(t), freePort(t)
	source := new(dnsfailover.StaticSource)
	rnd := rand.New(rand.NewPCG(7, 8))
	index := uint64(1)
	source.Set(changedView(t, index, rnd))
	master := runServer(t, dnsfailover.Config{
		Source: source,
		Transfer: dnsfailover.Transfer{
			Keys: []dnsfailover.Key{{Name: keyName, Secret: keySecret}},
			Notify: []dnsfailover.Secondary{
				{Addr: loopback(knotPort), Key: keyName},
				{Addr: loopback(nsdPort), Key: keyName},
			},
		},
	})
	secondaries := []*server{knotSecondary(t, knotPort, master), nsdSecondary(t, nsdPort, master)}
	const changes = 1000
	for index < changes {
		index++
		source.Set(changedView(t, index, rnd))
		if index%50 == 0 {
			for _, s := range secondaries {
				waitSerial(t, s, uint32(index))
			}
		}
	}
	ours := zoneFrom(t, master, true)
	for _, s := range secondaries {
		waitSerial(t, s, changes)
		if got := zoneFrom(t, s.addr, false); !slices.Equal(got, ours) {
			t.Errorf("%s serves\n%s\nwe serve\n%s", s.name, strings.Join(got, "\n"), strings.Join(ours, "\n"))
		}
		compareZones(t, s, ours)
	}
}

func loopback(port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
}

// changedView is the zone with some records drawn by rnd.
func changedView(t *testing.T, index uint64, rnd *rand.Rand) *dnsfailover.View {
	t.Helper()
	zone := dnsfailover.ZoneSpec{Name: Apex, Serial: uint32(index), NS: []dnsfailover.NameServer{{Name: "ns1." + Apex, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}}
	zone.Records = append(zone.Records, dnsfailover.RRset{Name: "h1." + Apex, Type: dns.TypeA, TTL: 5, Values: []string{"192.0.2.11"}})
	for i := range 30 {
		if rnd.IntN(4) > 0 {
			zone.Records = append(zone.Records, dnsfailover.RRset{
				Name: fmt.Sprintf("r%d.%s", i, Apex), Type: dns.TypeA, TTL: uint32(5 + rnd.IntN(2)), Values: []string{fmt.Sprintf("10.0.0.%d", rnd.IntN(250))},
			})
		}
		if rnd.IntN(4) == 0 {
			zone.Records = append(zone.Records, dnsfailover.RRset{
				Name: fmt.Sprintf("r%d.%s", i, Apex), Type: dns.TypeTXT, TTL: 5, Values: []string{fmt.Sprintf("%q", fmt.Sprintf("state %d; \\ \"", rnd.IntN(9)))},
			})
		}
	}
	view, err := dnsfailover.Build(index, []dnsfailover.ZoneSpec{zone}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// runServer runs our server in this process until the test ends.
func runServer(t *testing.T, cfg dnsfailover.Config) netip.AddrPort {
	t.Helper()
	cfg.Addrs = []string{"127.0.0.1:0"}
	s, err := dnsfailover.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-s.Ready()
	return s.Addrs()[0]
}

func knotSecondary(t *testing.T, port int, master netip.AddrPort) *server {
	dir := t.TempDir()
	conf := write(t, dir, "knot.conf", fmt.Sprintf(`
server:
    listen: 127.0.0.1@%d
    rundir: %s
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    pidfile: %s/pid
database:
    storage: %s/db
log:
  - target: stderr
    any: info
key:
  - id: %s
    algorithm: hmac-sha256
    secret: %s
remote:
  - id: quorate
    address: 127.0.0.1@%d
    key: %s
acl:
  - id: notify
    address: 127.0.0.1
    key: %s
    action: notify
  - id: look
    address: 127.0.0.1
    action: transfer
zone:
  - domain: %s
    storage: %s
    master: quorate
    acl: [notify, look]
`, port, dir, dir, dir, keyName, keySecret, master.Port(), keyName, keyName, Apex, dir))
	return start(t, "knot", port, nil, "knotd", "-c", conf, "-s", dir+"/control")
}

func nsdSecondary(t *testing.T, port int, master netip.AddrPort) *server {
	dir := t.TempDir()
	conf := write(t, dir, "nsd.conf", fmt.Sprintf(`
server:
	ip-address: 127.0.0.1
	port: %d
	server-count: 1
	username: ""
	chroot: ""
	database: ""
	zonesdir: %q
	zonelistfile: %q
	xfrdfile: %q
	xfrdir: %q
	pidfile: %q
	verbosity: 1
	xfrd-reload-timeout: 0
remote-control:
	control-enable: no
key:
	name: %q
	algorithm: hmac-sha256
	secret: %q
zone:
	name: %q
	request-xfr: 127.0.0.1@%d %s
	allow-notify: 127.0.0.1 %s
	provide-xfr: 127.0.0.1 NOKEY
`, port, dir, dir+"/list", dir+"/xfrd", dir, dir+"/pid", keyName, keySecret, strings.TrimSuffix(Apex, "."), master.Port(), keyName, keyName))
	return start(t, "nsd", port, nil, "nsd", "-d", "-c", conf)
}

// waitSerial waits until a server has a zone of at least this serial.
func waitSerial(t *testing.T, s *server, serial uint32) {
	t.Helper()
	client := &dns.Client{Timeout: time.Second}
	var last any
	for began := time.Now(); time.Since(began) < bound; time.Sleep(20 * time.Millisecond) {
		reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(Apex, dns.TypeSOA), s.addr.String())
		last = err
		if err == nil && len(reply.Answer) == 1 {
			got := reply.Answer[0].(*dns.SOA).Serial
			if got >= serial {
				return
			}
			last = got
		}
	}
	t.Fatalf("%s has serial %v, not %d, after %s", s.name, last, serial, bound)
}

// zoneFrom takes a zone from a server, in the order of its text.
func zoneFrom(t *testing.T, addr netip.AddrPort, signed bool) []string {
	t.Helper()
	m := new(dns.Msg).SetAxfr(Apex)
	tr := &dns.Transfer{ReadTimeout: bound}
	if signed {
		tr.TsigSecret = map[string]string{keyName + ".": keySecret}
		m.SetTsig(keyName+".", dns.HmacSHA256, 300, time.Now().Unix())
	}
	ch, err := tr.In(m, addr.String())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for envelope := range ch {
		if envelope.Error != nil {
			t.Fatal(envelope.Error)
		}
		for _, rr := range envelope.RR {
			out = append(out, rr.String())
		}
	}
	slices.Sort(out)
	return out
}

// compareZones has ldns-compare-zones judge the same.
func compareZones(t *testing.T, s *server, ours []string) {
	t.Helper()
	dir := t.TempDir()
	theirs := zoneFrom(t, s.addr, false)
	a := write(t, dir, "ours", strings.Join(slices.Compact(slices.Clone(ours)), "\n")+"\n")
	b := write(t, dir, s.name, strings.Join(slices.Compact(theirs), "\n")+"\n")
	out, err := exec.Command("ldns-compare-zones", "-a", "-e", a, b).CombinedOutput()
	if err != nil {
		t.Errorf("ldns-compare-zones of %s: %v\n%s", s.name, err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "ours")); err != nil {
		t.Fatal(err)
	}
}

// TestForeignClients has kdig and drill judge transfers and signed answers.
func TestForeignClients(t *testing.T) {
	source := new(dnsfailover.StaticSource)
	source.Set(changedView(t, 7, rand.New(rand.NewPCG(1, 1))))
	addr := runServer(t, dnsfailover.Config{Source: source, ID: "w1", Transfer: dnsfailover.Transfer{Keys: []dnsfailover.Key{{Name: keyName, Secret: keySecret}}}})
	port := fmt.Sprint(addr.Port())
	for _, tt := range []struct {
		command string
		want    []string
	}{
		{"kdig @127.0.0.1 -p PORT -y hmac-sha256:" + keyName + ":" + keySecret + " " + Apex + " AXFR", []string{"NOERROR", "Received", "h1.bench.test."}},
		{"kdig @127.0.0.1 -p PORT -y hmac-sha256:" + keyName + ":" + keySecret + " " + Apex + " IXFR=7", []string{"1 record"}},
		{"kdig @127.0.0.1 -p PORT -y hmac-sha256:" + keyName + ":" + keySecret + " h1." + Apex + " A", []string{"NOERROR", "192.0.2.11", "TSIG"}},
		{"kdig @127.0.0.1 -p PORT +cookie +nsid h1." + Apex + " A", []string{"NOERROR", "192.0.2.11", "COOKIE", `"w1"`}},
		{"kdig @127.0.0.1 -p PORT " + Apex + " AXFR", []string{"REFUSED"}},
		{"drill -p PORT @127.0.0.1 h1." + Apex + " A", []string{"NOERROR", "192.0.2.11"}},
		{"drill -t -p PORT @127.0.0.1 nx." + Apex + " A", []string{"NXDOMAIN"}},
	} {
		args := strings.Fields(strings.ReplaceAll(tt.command, "PORT", port))
		out, _ := exec.Command(args[0], args[1:]...).CombinedOutput() // some exit with an error for REFUSED
		for _, want := range tt.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: no %q in\n%s", tt.command, want, out)
			}
		}
	}
}

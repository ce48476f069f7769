package dnsfailover

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const transferSecret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"

var transferKey = Key{Name: "xfr.example.test", Secret: transferSecret}

// anywhere lets every client transfer.
var anywhere = Transfer{Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}

// randomView is the zone of the tests with some records more, drawn by rnd.
func randomView(t testing.TB, index uint64, rnd *rand.Rand) *View {
	zones := benchZones()
	for i := range 20 {
		if rnd.IntN(3) == 0 {
			continue
		}
		rs := RRset{Name: fmt.Sprintf("r%d", i), Type: dns.TypeA, TTL: uint32(5 + rnd.IntN(2))}
		for j := range 1 + rnd.IntN(3) {
			rs.Values = append(rs.Values, fmt.Sprintf("192.0.2.%d", 10*j+rnd.IntN(10)))
		}
		zones[0].Records = append(zones[0].Records, rs)
	}
	view, err := Build(index, zones, []ClusterView{benchCluster()})
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// fetch takes a zone, whole or from a serial on.
func fetch(t testing.TB, addr netip.AddrPort, serial uint32, incremental bool, key *Key) ([]dns.RR, error) {
	t.Helper()
	m := new(dns.Msg).SetAxfr("example.test.")
	if incremental {
		m = new(dns.Msg).SetIxfr("example.test.", serial, "ns1.example.test.", "hostmaster.example.test.")
	}
	tr := &dns.Transfer{DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience}
	if key != nil {
		tr.TsigSecret = map[string]string{fqdn(key.Name): key.Secret}
		m.SetTsig(fqdn(key.Name), dns.HmacSHA256, 300, time.Now().Unix())
	}
	ch, err := tr.In(m, addr.String())
	if err != nil {
		return nil, err
	}
	var rrs []dns.RR
	for envelope := range ch {
		if envelope.Error != nil {
			return nil, envelope.Error
		}
		rrs = append(rrs, envelope.RR...)
	}
	return rrs, nil
}

func texts(rrs []dns.RR) []string {
	var out []string
	for _, rr := range rrs {
		out = append(out, rr.String())
	}
	slices.Sort(out)
	return out
}

// patch applies an incremental transfer to a zone, as a secondary does.
func patch(t testing.TB, zone map[string]bool, rrs []dns.RR) {
	t.Helper()
	if len(rrs) == 1 {
		return // up to date
	}
	last := rrs[0].(*dns.SOA).Serial
	second, ok := rrs[1].(*dns.SOA)
	if !ok { // the zone as a whole
		clear(zone)
		for _, rr := range rrs[1:] {
			zone[rr.String()] = true
		}
		return
	}
	_ = second
	removing := false
	for i, rr := range rrs[1:] {
		if soa, is := rr.(*dns.SOA); is {
			if soa.Serial == last && i == len(rrs)-2 {
				break
			}
			removing = !removing
			if removing {
				delete(zone, soa.String())
			} else {
				zone[soa.String()] = true
			}
			continue
		}
		text := rr.String()
		if removing {
			if !zone[text] {
				t.Fatalf("to be removed, but not there: %s", text)
			}
			delete(zone, text)
		} else {
			zone[text] = true
		}
	}
}

// A secondary that follows random changes by IXFR has the zone that AXFR gives.
func TestIncrementalTransferEqualsTheZone(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	source := new(StaticSource)
	source.Set(randomView(t, 1, rnd))
	addr := start(t, Config{Source: source, Transfer: anywhere})[0]
	zone := map[string]bool{}
	whole, err := fetch(t, addr, 0, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	patch(t, zone, whole)
	serial, incremental := uint32(1), 0
	for index := uint64(2); index < 120; index++ {
		source.Set(randomView(t, index, rnd))
		if rnd.IntN(4) == 0 {
			continue // the secondary misses some
		}
		eventually(t, "the change is published", func() bool {
			rrs, err := fetch(t, addr, uint32(index), true, nil)
			return err == nil && len(rrs) == 1 && rrs[0].(*dns.SOA).Serial == uint32(index)
		})
		rrs, err := fetch(t, addr, serial, true, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := rrs[1].(*dns.SOA); ok {
			incremental++
		}
		patch(t, zone, rrs)
		serial = uint32(index)
		whole, err := fetch(t, addr, 0, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := texts(whole[1:])
		got := make([]string, 0, len(zone))
		for text := range zone {
			got = append(got, text)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("index %d: after IXFR\n%s\nAXFR\n%s", index, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if incremental < 50 {
		t.Errorf("only %d transfers were incremental", incremental)
	}
}

func TestTransferAccess(t *testing.T) {
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	far := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	wrong := Key{Name: transferKey.Name, Secret: "d3Jvbmd3cm9uZ3dyb25nd3JvbmchIQ=="}
	other := Key{Name: "other.example.test", Secret: transferSecret}
	for name, tt := range map[string]struct {
		transfer Transfer
		key      *Key
		age      time.Duration
		ok       bool
	}{
		"nobody by default":        {},
		"a network":                {transfer: Transfer{Allow: local}, ok: true},
		"another network":          {transfer: Transfer{Allow: far}},
		"a key":                    {transfer: Transfer{Keys: []Key{transferKey}}, key: &transferKey, ok: true},
		"no key":                   {transfer: Transfer{Keys: []Key{transferKey}}},
		"network but no key":       {transfer: Transfer{Keys: []Key{transferKey}, Allow: local}},
		"key from another network": {transfer: Transfer{Keys: []Key{transferKey}, Allow: far}, key: &transferKey},
		"key and network":          {transfer: Transfer{Keys: []Key{transferKey}, Allow: local}, key: &transferKey, ok: true},
		"the wrong secret":         {transfer: Transfer{Keys: []Key{transferKey}}, key: &wrong},
		"an unknown key":           {transfer: Transfer{Keys: []Key{transferKey}}, key: &other},
		"a node out of touch":      {transfer: Transfer{Allow: local}, age: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			source := benchSource(t)
			source.SetContact(tt.age)
			addr := start(t, Config{Source: source, Transfer: tt.transfer})[0]
			rrs, err := fetch(t, addr, 0, false, tt.key)
			if (err == nil) != tt.ok {
				t.Errorf("%d records, error %v", len(rrs), err)
			}
			if tt.ok && (len(rrs) < 20 || rrs[0].String() != rrs[len(rrs)-1].String()) {
				t.Errorf("%d records, first %v, last %v", len(rrs), rrs[0], rrs[len(rrs)-1])
			}
		})
	}
}

// A zone that does not fit one message is sent in many, each of them signed.
func TestLargeTransfer(t *testing.T) {
	zones := benchZones()
	for i := range 3000 {
		zones[0].Records = append(zones[0].Records, RRset{Name: fmt.Sprintf("n%d", i), Type: dns.TypeTXT, Values: []string{quoted(strings.Repeat("x", 100))}})
	}
	source := new(StaticSource)
	source.Set(mustBuild(t, zones, benchCluster()))
	addr := start(t, Config{Source: source, Transfer: Transfer{Keys: []Key{transferKey}}})[0]
	rrs, err := fetch(t, addr, 0, false, &transferKey)
	if err != nil || len(rrs) < 3000 {
		t.Fatalf("%d records, %v", len(rrs), err)
	}
}

// Ordinary queries may be signed too: secondaries sign their SOA queries.
func TestSignedQueries(t *testing.T) {
	addr := start(t, Config{Source: benchSource(t), Transfer: Transfer{Keys: []Key{transferKey}}})[0]
	ask := func(network string, key Key, when int64) (*dns.Msg, error) {
		m := new(dns.Msg).SetQuestion("example.test.", dns.TypeSOA)
		m.SetTsig(fqdn(key.Name), dns.HmacSHA256, 300, when)
		client := &dns.Client{Net: network, Timeout: patience, TsigSecret: map[string]string{fqdn(key.Name): key.Secret}}
		reply, _, err := client.Exchange(m, addr.String())
		return reply, err
	}
	for _, network := range []string{"udp", "tcp"} {
		reply, err := ask(network, transferKey, time.Now().Unix())
		if err != nil || len(reply.Answer) != 1 || reply.IsTsig() == nil {
			t.Errorf("%s: %v, %v", network, reply, err)
		}
		reply, _ = ask(network, Key{Name: "other.test", Secret: transferSecret}, time.Now().Unix())
		if reply == nil || reply.Rcode != dns.RcodeNotAuth || reply.IsTsig() == nil || reply.IsTsig().Error != dns.RcodeBadKey {
			t.Errorf("%s, unknown key: %v", network, reply)
		}
		reply, _ = ask(network, Key{Name: transferKey.Name, Secret: "d3Jvbmd3cm9uZ3dyb25nd3JvbmchIQ=="}, time.Now().Unix())
		if reply == nil || reply.Rcode != dns.RcodeNotAuth || reply.IsTsig().Error != dns.RcodeBadSig || reply.IsTsig().MACSize != 0 {
			t.Errorf("%s, bad signature: %v", network, reply)
		}
		reply, _ = ask(network, transferKey, time.Now().Unix()-1000)
		if reply == nil || reply.Rcode != dns.RcodeNotAuth || reply.IsTsig().Error != dns.RcodeBadTime || reply.IsTsig().OtherLen != 6 {
			t.Errorf("%s, bad time: %v", network, reply)
		}
	}
}

func TestTransferConfigFaults(t *testing.T) {
	_, err := NewServer(Config{Addrs: []string{"127.0.0.1:0"}, Source: new(StaticSource), Transfer: Transfer{
		Keys: []Key{
			{Name: "short", Secret: "c2VjcmV0"},
			{Name: "md5", Algorithm: "hmac-md5", Secret: transferSecret},
			{Name: "twice", Secret: transferSecret},
			{Name: "TWICE.", Secret: transferSecret},
			{Name: "bad name", Secret: transferSecret},
		},
		Notify: []Secondary{{}, {Addr: netip.MustParseAddrPort("192.0.2.1:53"), Key: "nobody"}},
	}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"short.", "md5.", "twice. is configured twice", "bad name", "secondary 1 has no address", `key "nobody"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %q in:\n%v", want, err)
		}
	}
}

// A secondary is told of a change, again if it does not answer, and of the newest
// change only.
func TestNotify(t *testing.T) {
	var serial, asked atomic.Uint32
	secondary := &dns.Server{Addr: "127.0.0.1:0", Net: "udp", TsigSecret: map[string]string{fqdn(transferKey.Name): transferSecret}}
	ready := make(chan struct{})
	secondary.NotifyStartedFunc = func() { close(ready) }
	secondary.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		if m.Opcode != dns.OpcodeNotify || !m.Authoritative || w.TsigStatus() != nil || len(m.Answer) != 1 {
			t.Errorf("not a signed NOTIFY: %v, %v", m, w.TsigStatus())
		}
		if asked.Add(1) == 1 {
			return // the first one is lost
		}
		serial.Store(m.Answer[0].(*dns.SOA).Serial)
		reply := new(dns.Msg).SetReply(m)
		reply.SetTsig(fqdn(transferKey.Name), dns.HmacSHA256, 300, time.Now().Unix())
		_ = w.WriteMsg(reply)
	})
	ended := make(chan error, 1)
	go func() { ended <- secondary.ListenAndServe() }()
	<-ready
	defer func() { _ = secondary.Shutdown(); <-ended }()
	source := new(StaticSource)
	rnd := rand.New(rand.NewPCG(5, 6))
	source.Set(randomView(t, 1, rnd))
	start(t, Config{Source: source, Transfer: Transfer{
		Keys:   []Key{transferKey},
		Notify: []Secondary{{Addr: netip.MustParseAddrPort(secondary.PacketConn.LocalAddr().String()), Key: transferKey.Name}},
	}})
	eventually(t, "the secondary knows serial 1", func() bool { return serial.Load() == 1 })
	for index := uint64(2); index <= 20; index++ {
		source.Set(randomView(t, index, rnd))
	}
	eventually(t, "the secondary knows serial 20", func() bool { return serial.Load() == 20 })
}

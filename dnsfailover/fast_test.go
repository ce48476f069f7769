package dnsfailover

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// fastServer is a server that has published the zones of the other tests.
func fastServer(t testing.TB, rate uint32) (*Server, *StaticSource) {
	t.Helper()
	source := new(StaticSource)
	source.Set(mustBuild(t, benchZones(), benchCluster()))
	s, err := NewServer(Config{Addrs: []string{"127.0.0.1:0"}, Source: source, ID: "w1", RateLimit: rate})
	if err != nil {
		t.Fatal(err)
	}
	s.publish(source.View())
	return s, source
}

var testClient = netip.MustParseAddr("192.0.2.1")

// canonical makes two replies comparable: names in upper case letters that a
// compression pointer gave the query's case, and the order of compression, do not
// count; everything else does.
func canonical(t testing.TB, raw []byte) *dns.Msg {
	t.Helper()
	var m dns.Msg
	if err := m.Unpack(raw); err != nil {
		t.Fatalf("reply does not parse: %v: %x", err, raw)
	}
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for i, rr := range section {
			lower, err := dns.NewRR(strings.ToLower(rr.String()))
			if err == nil && lower != nil && rr.Header().Rrtype != dns.TypeTXT {
				lower.Header().Rdlength = 0
				section[i] = lower
			}
			section[i].Header().Name = strings.ToLower(section[i].Header().Name)
			section[i].Header().Rdlength = 0
		}
	}
	return &m
}

// compareFast requires the fast path to answer as the slow path, or not at all.
func compareFast(t testing.TB, s *Server, packet []byte) (fast bool) {
	t.Helper()
	now := clock{seconds: 1000, millis: 5}
	query := bytes.Clone(packet)
	var q fastQuery
	out := make([]byte, ednsSize)
	r, ok := s.answerFast(s.current.Load().ix, &q, packet, out, testClient, now)
	if !bytes.Equal(query, packet) {
		t.Fatal("the query buffer was written to")
	}
	if !ok {
		return false
	}
	slow, res := s.handle(packet, transportUDP, testClient, now)
	if !bytes.Equal(slow[:headerSize], out[:headerSize]) {
		t.Fatalf("headers differ: fast %x, slow %x, query %x", out[:headerSize], slow[:headerSize], packet)
	}
	if got, want := canonical(t, out[:r.n]), canonical(t, slow); !reflect.DeepEqual(got, want) {
		t.Fatalf("query %x\nfast %v\nslow %v", packet, got, want)
	}
	end := q.end
	if !bytes.Equal(out[headerSize:end], packet[headerSize:end]) {
		t.Fatal("the question came back changed")
	}
	if r.nxdomain != (res.rcode == dns.RcodeNameError) {
		t.Fatalf("counted as NXDOMAIN: %v, rcode %d", r.nxdomain, res.rcode)
	}
	return true
}

// queryFor packs one question, with what the variant says.
func queryFor(t testing.TB, name string, typ uint16, variant int) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, typ)
	m.RecursionDesired = variant&1 != 0
	if variant&2 != 0 {
		m.SetEdns0([]uint16{0, 512, 1232, 4096}[variant>>4&3], variant&4 != 0)
		if variant&8 != 0 {
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}}
		}
	}
	if variant&64 != 0 {
		m.CheckingDisabled, m.AuthenticatedData = true, true
	}
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Every name of the zones and names beside and below them, every type, every
// variant: the two paths agree, and the fast one really is used.
func TestFastPathAgrees(t *testing.T) {
	s, _ := fastServer(t, 0)
	ix := s.current.Load().ix
	names := []string{"nowhere.invalid.", ".", "test.", "nx.example.test.", "a.b.c.nx.example.test.", "x.wild.example.test.", `odd\.dot.example.test.`}
	for name := range ix.names {
		names = append(names, name, "below."+name, strings.ToUpper(name))
	}
	types := []uint16{0, dns.TypeANY, dns.TypeAXFR, dns.TypeOPT, dns.TypeRRSIG, 65280, 128}
	types = append(types, tallyTypes[:]...)
	took, all := 0, 0
	for _, name := range names {
		for _, typ := range types {
			for variant := 0; variant < 128; variant += 1 + all%3 {
				all++
				if compareFast(t, s, queryFor(t, name, typ, variant)) {
					took++
				}
			}
		}
	}
	t.Logf("%d of %d queries took the fast path", took, all)
	if took < all/3 {
		t.Errorf("only %d of %d queries took the fast path", took, all)
	}
	for _, must := range []struct {
		name string
		typ  uint16
	}{
		{"primary.pg.example.test.", dns.TypeA},
		{"pRiMaRy.pg.example.test.", dns.TypeA},
		{"primary.pg.example.test.", dns.TypeTXT},
		{"primary.pg.example.test.", dns.TypeMX},
		{"example.test.", dns.TypeSOA},
		{"nx.example.test.", dns.TypeA},
	} {
		for variant := range 16 {
			if variant&2 != 0 && !compareFast(t, s, queryFor(t, must.name, must.typ, variant|32)) {
				t.Errorf("%s %s, variant %d, took the slow path", must.name, typeName(must.typ), variant)
			}
		}
	}
}

// FuzzFastPath sends any packet through both paths.
func FuzzFastPath(f *testing.F) {
	s, _ := fastServer(f, 0)
	for variant := range 128 {
		f.Add(queryFor(f, "primary.pg.example.test.", dns.TypeA, variant))
		f.Add(queryFor(f, "nx.PG.example.test.", dns.TypeAAAA, variant))
	}
	f.Add(queryFor(f, "example.test.", dns.TypeSOA, 2)[:20])
	f.Fuzz(func(t *testing.T, packet []byte) { compareFast(t, s, packet) })
}

// Random changes to good queries, so that the fast path's own checks are met in
// every test run and not only by the fuzzer.
func TestFastPathAgreesOnDamagedQueries(t *testing.T) {
	s, _ := fastServer(t, 0)
	rnd := rand.New(rand.NewPCG(1, 2))
	took := 0
	for range 60_000 {
		packet := queryFor(t, []string{"primary.pg.example.test.", "nx.example.test.", "example.test."}[rnd.IntN(3)],
			tallyTypes[rnd.IntN(len(tallyTypes))], rnd.IntN(128))
		for range rnd.IntN(3) {
			packet[rnd.IntN(len(packet))] = byte(rnd.IntN(256))
		}
		switch rnd.IntN(10) {
		case 0:
			packet = packet[:rnd.IntN(len(packet))]
		case 1:
			packet = append(packet, 0)
		}
		if compareFast(t, s, packet) {
			took++
		}
	}
	if took < 10_000 {
		t.Errorf("only %d damaged queries took the fast path", took)
	}
}

func TestFastPathAllocatesNothing(t *testing.T) {
	s, _ := fastServer(t, 1_000_000)
	w := s.newUDPWorker()
	out := make([]byte, ednsSize)
	from := netip.AddrPortFrom(testClient, 5353)
	for name, packet := range map[string][]byte{
		"hit":             queryFor(t, "primary.pg.example.test.", dns.TypeA, 0),
		"EDNS and cookie": queryFor(t, "primary.pg.example.test.", dns.TypeA, 2|8|32),
		"NODATA":          queryFor(t, "primary.pg.example.test.", dns.TypeMX, 2|32),
		"NXDOMAIN":        queryFor(t, "nx.example.test.", dns.TypeA, 2|32),
	} {
		w.begin()
		if w.answer(packet, out, from) == 0 {
			t.Fatalf("%s: no answer", name)
		}
		if n := testing.AllocsPerRun(1000, func() {
			w.begin()
			w.answer(packet, out, from)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// Out of touch with the quorum, ready-made bytes are not used.
func TestStaleNodeTakesTheSlowPath(t *testing.T) {
	s, source := fastServer(t, 0)
	w := s.newUDPWorker()
	out := make([]byte, ednsSize)
	packet := queryFor(t, "primary.pg.example.test.", dns.TypeA, 2|32)
	ask := func() *dns.Msg {
		w.begin()
		m := new(dns.Msg)
		if err := m.Unpack(out[:w.answer(packet, out, netip.AddrPortFrom(testClient, 1))]); err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := ask(); m.Rcode != dns.RcodeSuccess || len(m.Answer) == 0 {
		t.Fatalf("in touch: %v", m)
	}
	source.SetContact(time.Hour)
	if m := ask(); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("out of touch: %v", m)
	}
}

// A limited client gets empty replies with TC or nothing; one with a cookie, and
// everybody over TCP, is answered.
func TestRateLimit(t *testing.T) {
	s, _ := fastServer(t, 10)
	w := s.newUDPWorker()
	out := make([]byte, ednsSize)
	w.begin()
	w.now.millis = 1
	ask := func(packet []byte) string {
		n := w.answer(packet, out, netip.AddrPortFrom(testClient, 1))
		if n == 0 {
			return "dropped"
		}
		m := new(dns.Msg)
		if err := m.Unpack(out[:n]); err != nil {
			t.Fatal(err)
		}
		switch {
		case m.Truncated && len(m.Answer)+len(m.Ns) == 0:
			return "truncated"
		case m.Rcode == dns.RcodeSuccess && len(m.Answer) > 0, m.Rcode != dns.RcodeSuccess:
			return "answered"
		}
		return fmt.Sprint(m)
	}
	for what, packet := range map[string][]byte{
		"fast": queryFor(t, "primary.pg.example.test.", dns.TypeA, 0),
		"slow": queryFor(t, "primary.pg.example.test.", dns.TypeANY, 0),
		"none": queryFor(t, "nowhere.invalid.", dns.TypeA, 0),
		"nx":   queryFor(t, "nx.example.test.", dns.TypeA, 0),
	} {
		got := map[string]int{}
		for range 30 {
			got[ask(packet)]++
		}
		if got["answered"] != 10 || got["truncated"] != 10 || got["dropped"] != 10 {
			t.Errorf("%s: %v", what, got)
		}
	}
	m := new(dns.Msg).SetQuestion("primary.pg.example.test.", dns.TypeA)
	m.SetEdns0(1232, false)
	full := make([]byte, clientCookie+serverCookie)
	s.cookies.fill(full, []byte("12345678"), testClient, w.now.seconds)
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: fmt.Sprintf("%x", full)}}
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		if got := ask(raw); got != "answered" {
			t.Fatalf("with a valid cookie: %s", got)
		}
	}
	s.tallies.flush()
}

func BenchmarkFastPath(b *testing.B) {
	s, _ := fastServer(b, 1_000_000)
	w := s.newUDPWorker()
	out := make([]byte, ednsSize)
	for name, packet := range map[string][]byte{
		"hit":      queryFor(b, "primary.pg.example.test.", dns.TypeA, 0),
		"cookie":   queryFor(b, "primary.pg.example.test.", dns.TypeA, 2|8|32),
		"nxdomain": queryFor(b, "nx.example.test.", dns.TypeA, 2|32),
	} {
		b.Run(name, func(b *testing.B) {
			w.begin()
			for b.Loop() {
				w.answer(packet, out, netip.AddrPortFrom(testClient, 1))
			}
		})
	}
}

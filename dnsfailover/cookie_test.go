package dnsfailover

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// secretOf reads a secret as RFC 9018 writes it.
func secretOf(t *testing.T, s string) *cookies {
	t.Helper()
	raw := unhex(t, s)
	word := func(b []byte) (w uint64) {
		for i := range 8 {
			w |= uint64(b[i]) << (8 * i)
		}
		return w
	}
	c := newCookies()
	c.secrets.Store(&[2][2]uint64{{word(raw), word(raw[8:])}, newSecret()})
	return c
}

// The vectors of RFC 9018, appendix A.
func TestCookieVectors(t *testing.T) {
	for name, v := range map[string]struct {
		secret, client, addr, server string
		now                          uint32
	}{
		"A.1 a new server cookie": {"e5e973e5a6b2a43f48e7dc849e37bfcf", "2464c4abcf10c957", "198.51.100.100", "010000005cf79f111f8130c3eee29480", 1559731985},
		"A.4 an IPv6 client":      {"445536bcd2513298075a5d379663c962", "22681ab97d52c298", "2001:db8:220:1:59de:d0f4:8769:82b8", "010000005cf7c609a6bb79d16625507a", 1559741961},
	} {
		c, addr := secretOf(t, v.secret), netip.MustParseAddr(v.addr)
		var got [24]byte
		c.fill(got[:], unhex(t, v.client), addr, v.now)
		if want := unhex(t, v.client+v.server); !bytes.Equal(got[:], want) {
			t.Errorf("%s: cookie %x, want %x", name, got, want)
		}
		if !c.valid(got[:], addr, v.now) {
			t.Errorf("%s: not valid", name)
		}
	}
}

func TestCookieIsValidForItsClientAndHour(t *testing.T) {
	c, me := newCookies(), netip.MustParseAddr("192.0.2.1")
	const now = 1_000_000
	var cookie [24]byte
	c.fill(cookie[:], []byte("12345678"), me, now)
	for name, tt := range map[string]struct {
		who  string
		when uint32
		edit func(b []byte)
		want bool
	}{
		"at once":          {"192.0.2.1", now, nil, true},
		"an hour later":    {"192.0.2.1", now + cookieLife, nil, true},
		"too late":         {"192.0.2.1", now + cookieLife + 1, nil, false},
		"clocks differ":    {"192.0.2.1", now - cookieAhead, nil, true},
		"from the future":  {"192.0.2.1", now - cookieAhead - 1, nil, false},
		"somebody else":    {"192.0.2.2", now, nil, false},
		"another client":   {"192.0.2.1", now, func(b []byte) { b[0]++ }, false},
		"another version":  {"192.0.2.1", now, func(b []byte) { b[8]++ }, false},
		"a reserved bit":   {"192.0.2.1", now, func(b []byte) { b[9] = 1 }, false},
		"a forged hash":    {"192.0.2.1", now, func(b []byte) { b[23]++ }, false},
		"a forged time":    {"192.0.2.1", now, func(b []byte) { b[15]++ }, false},
		"only client part": {"192.0.2.1", now, func(b []byte) {}, true},
	} {
		b := bytes.Clone(cookie[:])
		if tt.edit != nil {
			tt.edit(b)
		}
		if name == "only client part" {
			b, tt.want = b[:8], false
		}
		if got := c.valid(b, netip.MustParseAddr(tt.who), tt.when); got != tt.want {
			t.Errorf("%s: valid = %v", name, got)
		}
	}
	c.roll()
	if !c.valid(cookie[:], me, now) {
		t.Error("a cookie of the secret before is not valid any more")
	}
	c.roll()
	if c.valid(cookie[:], me, now) {
		t.Error("a cookie of a secret long gone is valid")
	}
}

// Options over the slow path; the fast path is compared with it.
func TestOptions(t *testing.T) {
	ix := mustCompile(t, mustBuild(t, benchZones(), benchCluster()))
	r := responder{id: "w1", cookies: newCookies(), client: netip.MustParseAddr("192.0.2.1"), now: 1000}
	ask := func(options ...dns.EDNS0) *dns.Msg {
		t.Helper()
		m := new(dns.Msg).SetQuestion("primary.pg.example.test.", dns.TypeA)
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = options
		raw, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		out, _ := r.respond(ix, 0, raw, transportUDP)
		reply := new(dns.Msg)
		if err := reply.Unpack(out); err != nil {
			t.Fatal(err)
		}
		return reply
	}
	cookie := func(s string) dns.EDNS0 { return &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: s} }
	first := ask(cookie("0102030405060708")).IsEdns0().Option
	if len(first) != 1 || len(first[0].(*dns.EDNS0_COOKIE).Cookie) != 48 {
		t.Fatalf("options %v, want client and server cookie", first)
	}
	for _, size := range []int{1, 7, 9, 15, 41} {
		if reply := ask(cookie(hex.EncodeToString(make([]byte, size)))); reply.Rcode != dns.RcodeFormatError {
			t.Errorf("a cookie of %d bytes: rcode %d", size, reply.Rcode)
		}
	}
	got := ask(&dns.EDNS0_NSID{Code: dns.EDNS0NSID}).IsEdns0().Option
	if len(got) != 1 || got[0].(*dns.EDNS0_NSID).Nsid != hex.EncodeToString([]byte("w1")) {
		t.Errorf("NSID %v", got)
	}
	subnet := &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, SourceScope: 0, Address: []byte{198, 51, 100, 0}}
	got = ask(subnet).IsEdns0().Option
	if len(got) != 1 || got[0].String() != subnet.String() {
		t.Errorf("client subnet %v", got)
	}
	if got := ask(&dns.EDNS0_LOCAL{Code: 65001, Data: []byte{1}}).IsEdns0().Option; len(got) != 0 {
		t.Errorf("an unknown option came back: %v", got)
	}
}

package dnsfailover

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// wire builds a query packet by hand: the header fields are what the tests are
// about, and a library would correct them.
type wire struct {
	bits           uint16
	qd, an, ns, ar uint16
	question, rest []byte
}

func (w wire) packet() []byte {
	out := binary.BigEndian.AppendUint16(nil, 0xBEEF)
	for _, v := range []uint16{w.bits, w.qd, w.an, w.ns, w.ar} {
		out = binary.BigEndian.AppendUint16(out, v)
	}
	return append(append(out, w.question...), w.rest...)
}

func question(name string, typ, class uint16) []byte {
	buf := make([]byte, 300)
	n, err := dns.PackDomainName(name, buf, 0, nil, false)
	if err != nil {
		panic(err)
	}
	out := binary.BigEndian.AppendUint16(buf[:n], typ)
	return binary.BigEndian.AppendUint16(out, class)
}

// optRecord is an OPT record: size, extended rcode and version, flags, options.
func optRecord(size uint16, version byte, flags uint16, options []byte) []byte {
	out := []byte{0, 0, byte(dns.TypeOPT), byte(size >> 8), byte(size), 0, version, byte(flags >> 8), byte(flags)}
	out = binary.BigEndian.AppendUint16(out, uint16(len(options)))
	return append(out, options...)
}

func TestHeaderRules(t *testing.T) {
	ix := mustCompile(t, mustBuild(t, benchZones(), benchCluster()))
	mail := question("mail.example.test.", dns.TypeA, dns.ClassINET)
	opt := optRecord(4096, 0, 0, nil)
	named := append([]byte{1, 'x'}, opt...)
	header := func(bits uint16) []byte {
		return binary.BigEndian.AppendUint16([]byte{0xBE, 0xEF}, bits)
	}
	for _, tt := range []struct {
		name   string
		packet []byte
		want   []byte // the whole header-only reply, nil for none
	}{
		{"empty", nil, nil},
		{"short", wire{qd: 1}.packet()[:11], nil},
		{"a response", wire{bits: bitQR, qd: 1, question: mail}.packet(), nil},
		{"a response with an unknown opcode", wire{bits: bitQR | 9<<shiftOpc, qd: 1, question: mail}.packet(), nil},
		{"header only", wire{qd: 1}.packet(), header(0x8001)},
		{"header only, RD", wire{bits: bitRD, qd: 1}.packet(), header(0x8101)},
		{"no question", wire{}.packet(), header(0x8001)},
		{"two questions", wire{qd: 2, question: append(bytes.Clone(mail), mail...)}.packet(), header(0x8001)},
		{"half a question", wire{qd: 1, question: mail[:7]}.packet(), header(0x8001)},
		{"question without class", wire{qd: 1, question: mail[:len(mail)-2]}.packet(), header(0x8001)},
		{"label too long", wire{qd: 1, question: []byte{0x41, 'a', 0, 0, 1, 0, 1}}.packet(), header(0x8001)},
		{"pointer to itself", wire{qd: 1, question: []byte{0xC0, 0x0C, 0, 1, 0, 1}}.packet(), header(0x8001)},
		{"additional record missing", wire{qd: 1, ar: 1, question: mail}.packet(), header(0x8001)},
		{"additional record cut", wire{qd: 1, ar: 1, question: mail, rest: opt[:8]}.packet(), header(0x8001)},
		{"two OPTs", wire{qd: 1, ar: 2, question: mail, rest: append(bytes.Clone(opt), opt...)}.packet(), header(0x8001)},
		{"OPT with a name", wire{qd: 1, ar: 1, question: mail, rest: named}.packet(), header(0x8001)},
		{"IQUERY", wire{bits: 1<<shiftOpc | bitRD | 0x30, qd: 1, question: mail}.packet(), header(0x8804)},
		{"NOTIFY", wire{bits: 4<<shiftOpc | 1<<10, qd: 1, question: mail}.packet(), header(0xA004)},
		{"UPDATE", wire{bits: 5 << shiftOpc, qd: 1, question: mail}.packet(), header(0xA804)},
		{"opcode 15, garbage", wire{bits: 15 << shiftOpc, qd: 9, question: []byte{0xFF}}.packet(), header(0xF804)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, via := range []transport{transportUDP, transportTCP} {
				got, _ := responder{}.respond(ix, 0, tt.packet, via)
				want := tt.want
				if want != nil {
					want = append(bytes.Clone(want), make([]byte, 8)...)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%s: reply %x, want %x", via, got, want)
				}
			}
		})
	}
}

// reply asks and parses.
func replyTo(t *testing.T, ix *index, packet []byte, via transport) (*dns.Msg, []byte) {
	t.Helper()
	out, res := responder{id: "w1", version: "test"}.respond(ix, 0, packet, via)
	if out == nil {
		t.Fatalf("no reply: %+v", res)
	}
	m := new(dns.Msg)
	if err := m.Unpack(out); err != nil {
		t.Fatalf("reply does not parse: %v", err)
	}
	return m, out
}

func TestFlagsAreCopiedOrCleared(t *testing.T) {
	ix := mustCompile(t, mustBuild(t, benchZones()))
	q := question("MAIL.example.TEST.", dns.TypeA, dns.ClassINET)
	for _, rd := range []uint16{0, bitRD} {
		// AA, TC, RA, Z, AD, CD and an rcode in the query mean nothing.
		_, out := replyTo(t, ix, wire{bits: 0x06FF | rd, qd: 1, question: q}.packet(), transportUDP)
		if got, want := binary.BigEndian.Uint16(out[2:]), 0x8400|rd; got != want {
			t.Errorf("flags %#04x, want %#04x", got, want)
		}
		if binary.BigEndian.Uint16(out) != 0xBEEF {
			t.Error("ID not kept")
		}
		if !bytes.Equal(out[headerSize:headerSize+len(q)], q) {
			t.Errorf("question came back as %x, want %x", out[headerSize:headerSize+len(q)], q)
		}
	}
}

func TestEDNS(t *testing.T) {
	ix := mustCompile(t, mustBuild(t, benchZones()))
	q := question("mail.example.test.", dns.TypeA, dns.ClassINET)
	unknown := []byte{0xFD, 0xE9, 0, 3, 1, 2, 3} // option 65001, local use
	for _, tt := range []struct {
		name  string
		opt   []byte
		rcode int
		flags uint16
	}{
		{"none", nil, dns.RcodeSuccess, 0},
		{"plain", optRecord(1232, 0, 0, nil), dns.RcodeSuccess, 0},
		{"DO", optRecord(1232, 0, 0x8000, nil), dns.RcodeSuccess, 0x8000},
		{"unknown flags", optRecord(1232, 0, 0x7FFF, nil), dns.RcodeSuccess, 0},
		{"unknown option", optRecord(1232, 0, 0, unknown), dns.RcodeSuccess, 0},
		{"size 0", optRecord(0, 0, 0, nil), dns.RcodeSuccess, 0},
		{"version 1", optRecord(1232, 1, 0x8000, unknown), dns.RcodeBadVers, 0x8000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := wire{qd: 1, question: q, rest: tt.opt}
			if tt.opt != nil {
				w.ar = 1
			}
			m, _ := replyTo(t, ix, w.packet(), transportUDP)
			opt := m.IsEdns0()
			if (opt != nil) != (tt.opt != nil) {
				t.Fatalf("OPT in reply: %v", opt)
			}
			rcode := m.Rcode
			if rcode != tt.rcode {
				t.Errorf("rcode %s, want %s", dns.RcodeToString[rcode], dns.RcodeToString[tt.rcode])
			}
			if wantAnswers := tt.rcode == dns.RcodeSuccess; (len(m.Answer) == 1) != wantAnswers {
				t.Errorf("%d answers", len(m.Answer))
			}
			if opt == nil {
				return
			}
			if got := uint16(opt.Hdr.Ttl); got != tt.flags {
				t.Errorf("flags %#x, want %#x", got, tt.flags)
			}
			if opt.Version() != 0 || opt.UDPSize() != ednsSize || len(opt.Option) != 0 {
				t.Errorf("OPT %v", opt)
			}
		})
	}
}

func TestClasses(t *testing.T) {
	ix := mustCompile(t, mustBuild(t, benchZones()))
	for _, tt := range []struct {
		name  string
		typ   uint16
		class uint16
		rcode int
		text  string
	}{
		{"example.test.", dns.TypeSOA, dns.ClassHESIOD, dns.RcodeRefused, ""},
		{"example.test.", dns.TypeSOA, dns.ClassANY, dns.RcodeRefused, ""},
		{"example.test.", dns.TypeSOA, 0, dns.RcodeRefused, ""},
		{"example.test.", dns.TypeSOA, dns.ClassCHAOS, dns.RcodeRefused, ""},
		{"ID.server.", dns.TypeTXT, dns.ClassCHAOS, dns.RcodeSuccess, "w1"},
		{"version.bind.", dns.TypeTXT, dns.ClassCHAOS, dns.RcodeSuccess, "test"},
		{"version.bind.", dns.TypeA, dns.ClassCHAOS, dns.RcodeRefused, ""},
	} {
		m, _ := replyTo(t, ix, wire{qd: 1, question: question(tt.name, tt.typ, tt.class)}.packet(), transportUDP)
		text := ""
		if len(m.Answer) == 1 {
			text = m.Answer[0].(*dns.TXT).Txt[0]
		}
		if m.Rcode != tt.rcode || text != tt.text {
			t.Errorf("%s class %d: rcode %s, text %q", tt.name, tt.class, dns.RcodeToString[m.Rcode], text)
		}
	}
	out, _ := responder{}.respond(ix, 0, wire{qd: 1, question: question("id.server.", dns.TypeTXT, dns.ClassCHAOS)}.packet(), transportUDP)
	if got := out[3] & 0xF; got != dns.RcodeRefused {
		t.Errorf("a server without a name answers id.server with rcode %d", got)
	}
}

func TestTruncation(t *testing.T) {
	many := benchCluster()
	many.Replicas = nil
	for i := range 24 {
		name := "replica-" + string(rune('a'+i))
		many.Replicas = append(many.Replicas, target(name, "10.1.0."+string(rune('1'+i%9))), target(name+"x", "2001:db8::"+string(rune('1'+i%9))))
	}
	ix := mustCompile(t, mustBuild(t, benchZones(), many))
	big := question("big.example.test.", dns.TypeTXT, dns.ClassINET)
	srv := question("_postgresql._tcp.replica.pg.example.test.", dns.TypeSRV, dns.ClassINET)
	ns := question("example.test.", dns.TypeMX, dns.ClassINET)
	for _, tt := range []struct {
		name      string
		q         []byte
		opt       []byte
		via       transport
		limit     int
		truncated bool
		answers   int
	}{
		{"no EDNS", big, nil, transportUDP, 512, true, 0},
		{"EDNS larger than ours", big, optRecord(4096, 0, 0, nil), transportUDP, 1232, true, 0},
		{"EDNS smaller than 512", big, optRecord(100, 0, 0, nil), transportUDP, 512, true, 0},
		{"TCP", big, nil, transportTCP, 65535, false, 20},
		{"TCP with a small EDNS size", big, optRecord(512, 0, 0, nil), transportTCP, 65535, false, 20},
		{"small enough", ns, nil, transportUDP, 512, false, 2},
		{"srv too large", srv, optRecord(1232, 0, 0, nil), transportUDP, 1232, true, 0},
		{"srv by TCP", srv, nil, transportTCP, 65535, false, 48},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := wire{qd: 1, question: tt.q, rest: tt.opt}
			if tt.opt != nil {
				w.ar = 1
			}
			m, out := replyTo(t, ix, w.packet(), tt.via)
			if len(out) > tt.limit || m.Truncated != tt.truncated || len(m.Answer) != tt.answers {
				t.Errorf("%d bytes (limit %d), TC %v, %d answers", len(out), tt.limit, m.Truncated, len(m.Answer))
			}
			if (m.IsEdns0() != nil) != (tt.opt != nil) {
				t.Error("OPT lost")
			}
		})
	}
}

// TestAdditionalGoesFirst has an answer that fits only without its additional
// addresses: it is whole, and not marked as truncated.
func TestAdditionalGoesFirst(t *testing.T) {
	c := benchCluster()
	c.Replicas = nil
	for i := range 12 {
		c.Replicas = append(c.Replicas, target("r"+string(rune('a'+i)), "10.1.0."+string(rune('1'+i%9))))
	}
	ix := mustCompile(t, mustBuild(t, benchZones(), c))
	q := wire{qd: 1, question: question("_postgresql._tcp.replica.pg.example.test.", dns.TypeSRV, dns.ClassINET)}
	whole, full := replyTo(t, ix, q.packet(), transportTCP)
	if len(whole.Extra) != 12 {
		t.Fatalf("%d additional records by TCP", len(whole.Extra))
	}
	q.ar, q.rest = 1, optRecord(uint16(len(full)-100), 0, 0, nil)
	m, _ := replyTo(t, ix, q.packet(), transportUDP)
	if m.Truncated || len(m.Answer) != 12 || len(m.Extra) != 1 {
		t.Errorf("TC %v, %d answers, %d additional", m.Truncated, len(m.Answer), len(m.Extra))
	}
}

// FuzzPacket sends packets through all that a datagram passes, except the socket.
func FuzzPacket(f *testing.F) {
	mail := question("mail.example.test.", dns.TypeA, dns.ClassINET)
	for _, w := range []wire{
		{bits: bitRD, qd: 1, question: mail},
		{qd: 1, ar: 1, question: mail, rest: optRecord(1232, 0, 0x8000, nil)},
		{qd: 1, ar: 1, question: mail, rest: optRecord(1232, 1, 0, nil)},
		{qd: 1, question: question("PRIMARY.pg.example.test.", dns.TypeANY, dns.ClassINET)},
		{qd: 1, question: question("x.wild.example.test.", dns.TypeA, dns.ClassINET)},
		{qd: 1, question: question("big.example.test.", dns.TypeTXT, dns.ClassINET)},
		{qd: 1, question: question("id.server.", dns.TypeTXT, dns.ClassCHAOS)},
		{bits: bitQR, qd: 1, question: mail},
		{bits: 5 << shiftOpc, qd: 1, question: mail},
		{qd: 1, question: []byte{0xC0, 0x0C, 0, 1, 0, 1}},
	} {
		f.Add(w.packet())
	}
	source := new(StaticSource)
	source.Set(mustBuild(f, benchZones(), benchCluster()))
	server, err := NewServer(Config{Addrs: []string{"127.0.0.1:0"}, Source: source, ID: "w1"})
	if err != nil {
		f.Fatal(err)
	}
	server.publish(source.View())
	f.Fuzz(func(t *testing.T, packet []byte) {
		query := bytes.Clone(packet)
		for _, age := range []time.Duration{0, time.Hour} {
			source.SetContact(age)
			for _, via := range []transport{transportUDP, transportTCP} {
				reply, _ := server.handle(packet, via, netip.Addr{}, clock{})
				checkReply(t, query, reply, via)
			}
		}
		if !bytes.Equal(query, packet) {
			t.Fatal("the query buffer was written to")
		}
	})
}

// checkReply compares a reply with what miekg/dns makes of the query.
func checkReply(t *testing.T, query, reply []byte, via transport) {
	t.Helper()
	if len(query) < headerSize || query[2]&0x80 != 0 {
		if reply != nil {
			t.Fatalf("answered a packet that must be dropped: %x", reply)
		}
		return
	}
	if reply == nil {
		t.Fatal("no reply to a query")
	}
	if !bytes.Equal(query[:2], reply[:2]) || reply[2]&0x80 == 0 || (query[2]^reply[2])&0x78 != 0 {
		t.Fatalf("ID, QR or opcode wrong: query %x, reply %x", query[:4], reply[:4])
	}
	if via == transportUDP && len(reply) > ednsSize {
		t.Fatalf("UDP reply of %d bytes", len(reply))
	}
	var q, r dns.Msg
	if err := r.Unpack(reply); err != nil {
		t.Fatalf("reply does not parse: %v", err)
	}
	if q.Unpack(query) != nil {
		if len(reply) != headerSize || (r.Rcode != dns.RcodeFormatError && r.Rcode != dns.RcodeNotImplemented) {
			t.Fatalf("malformed query answered with %v", &r)
		}
		return
	}
	if len(r.Question) == 1 && (len(q.Question) != 1 || r.Question[0] != q.Question[0]) {
		t.Fatalf("question %v came back as %v", q.Question, r.Question)
	}
	if len(r.Question) == 0 && len(reply) != headerSize {
		t.Fatalf("records without a question: %v", &r)
	}
	if r.Rcode == dns.RcodeSuccess && len(r.Answer) == 0 && len(r.Ns) == 0 && !r.Truncated {
		t.Fatalf("NOERROR without anything: %v", &r)
	}
}

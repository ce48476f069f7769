package dnsfailover

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// patience bounds waits on a busy machine; nothing waits that long when it works.
const patience = 30 * time.Second

// start runs a server until the test ends and returns its addresses.
func start(t *testing.T, cfg Config) []netip.AddrPort {
	t.Helper()
	if cfg.Addrs == nil {
		cfg.Addrs = []string{"127.0.0.1:0"}
	}
	server, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run did not end")
		}
	})
	select {
	case <-server.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("Run ended: %v", err)
	case <-time.After(patience):
		t.Fatal("server is not ready")
	}
	return server.Addrs()
}

func benchSource(t testing.TB) *StaticSource {
	source := new(StaticSource)
	source.Set(mustBuild(t, benchZones(), benchCluster()))
	return source
}

func TestServerAnswersOverBothTransports(t *testing.T) {
	for _, portable := range []bool{false, true} {
		t.Run(fmt.Sprintf("portable=%v", portable), func(t *testing.T) {
			source := benchSource(t)
			addrs := start(t, Config{Source: source, Portable: portable, Addrs: []string{"127.0.0.1:0", "[::1]:0"}})
			answersOverBothTransports(t, source, addrs)
		})
	}
}

func answersOverBothTransports(t *testing.T, source *StaticSource, addrs []netip.AddrPort) {
	for _, network := range []string{"udp", "tcp"} {
		for _, addr := range addrs {
			client := &dns.Client{Net: network, Timeout: patience}
			for _, cases := range [][]testCase{staticCases, managedCases} {
				for _, c := range cases {
					t.Run(network+"/"+c.name, func(t *testing.T) {
						source.SetContact(c.age)
						reply, _, err := client.Exchange(c.query(t), addr.String())
						if err != nil {
							t.Fatal(err)
						}
						c.check(t, reply)
					})
				}
			}
		}
	}
}

func TestTruncatedThenTCP(t *testing.T) {
	addr := start(t, Config{Source: benchSource(t)})[0].String()
	q := testCase{question: "big.example.test. TXT"}.query(t)
	reply, _, err := (&dns.Client{Net: "udp", Timeout: patience}).Exchange(q, addr)
	if err != nil || !reply.Truncated || len(reply.Answer) != 0 {
		t.Fatalf("UDP: %v %v", reply, err)
	}
	reply, _, err = (&dns.Client{Net: "tcp", Timeout: patience}).Exchange(q, addr)
	if err != nil || reply.Truncated || len(reply.Answer) != 20 {
		t.Fatalf("TCP: %v %v", reply, err)
	}
}

// TestReplyComesFromTheAddressAsked asks a server on the wildcard address by an
// address that is not the one that the kernel would reply from.
func TestReplyComesFromTheAddressAsked(t *testing.T) {
	for _, portable := range []bool{false, true} {
		repliesFromTheAddressAsked(t, start(t, Config{Source: benchSource(t), Portable: portable, Addrs: []string{"0.0.0.0:0"}})[0])
		repliesFromTheAddressAsked(t, start(t, Config{Source: benchSource(t), Portable: portable, Addrs: []string{"[::]:0"}})[0])
	}
}

func repliesFromTheAddressAsked(t *testing.T, addr netip.AddrPort) {
	for _, host := range []string{"127.0.0.1", "127.0.0.2"} {
		dialer := &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, Timeout: patience}
		client := &dns.Client{Net: "udp", Dialer: dialer, Timeout: patience}
		_, _, err := client.Exchange(testCase{question: "example.test. SOA"}.query(t), fmt.Sprintf("%s:%d", host, addr.Port()))
		if err != nil {
			t.Errorf("asked %s: %v", host, err)
		}
	}
}

func dialTCP(t *testing.T, addr netip.AddrPort) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func framed(t *testing.T, id uint16, name string, typ uint16) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, typ)
	m.Id = id
	packed, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...)
}

func readFramed(t *testing.T, conn net.Conn) *dns.Msg {
	t.Helper()
	reply, err := (&dns.Conn{Conn: conn}).ReadMsg()
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func TestTCPPipelining(t *testing.T) {
	conn := dialTCP(t, start(t, Config{Source: benchSource(t)})[0])
	const n = 200
	var sent []byte
	for id := range uint16(n) {
		name := []string{"mail.example.test.", "big.example.test.", "no.example.test."}[id%3]
		sent = append(sent, framed(t, id, name, dns.TypeTXT)...)
	}
	writeErr := make(chan error, 1)
	go func() { _, err := conn.Write(sent); writeErr <- err }()
	for id := range uint16(n) {
		if got := readFramed(t, conn).Id; got != id {
			t.Fatalf("reply %d has the ID %d", id, got)
		}
	}
	if err := <-writeErr; err != nil {
		t.Fatal(err)
	}
}

// TestTCPHalfAQueryDoesNotHoldReplies sends one query and the beginning of the
// next in one segment: the first reply must come although the second cannot.
func TestTCPHalfAQueryDoesNotHoldReplies(t *testing.T) {
	conn := dialTCP(t, start(t, Config{Source: benchSource(t), TCPIdle: patience * 4})[0])
	second := framed(t, 2, "mail.example.test.", dns.TypeA)
	for _, cut := range []int{1, 2, 20} {
		if _, err := conn.Write(append(framed(t, 1, "mail.example.test.", dns.TypeA), second[:cut]...)); err != nil {
			t.Fatal(err)
		}
		if got := readFramed(t, conn).Id; got != 1 {
			t.Fatalf("ID %d", got)
		}
		if _, err := conn.Write(second[cut:]); err != nil {
			t.Fatal(err)
		}
		if got := readFramed(t, conn).Id; got != 2 {
			t.Fatalf("ID %d", got)
		}
	}
}

func TestTCPIdleConnectionIsClosed(t *testing.T) {
	addr := start(t, Config{Source: benchSource(t), TCPIdle: 50 * time.Millisecond})[0]
	for _, begin := range [][]byte{nil, {0}, framed(t, 1, "mail.example.test.", dns.TypeA)[:9]} {
		conn := dialTCP(t, addr)
		// On a slow machine the server may close before this is written.
		_, _ = conn.Write(begin)
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after %d bytes: %v, want the connection closed", len(begin), err)
		}
	}
}

func TestTCPConnectionsAreLimited(t *testing.T) {
	addr := start(t, Config{Source: benchSource(t), MaxTCP: 2, TCPIdle: 4 * patience})[0]
	var held []net.Conn
	for range 2 {
		conn := dialTCP(t, addr)
		if _, err := conn.Write(framed(t, 1, "mail.example.test.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		readFramed(t, conn) // accepted for certain
		held = append(held, conn)
	}
	if _, err := dialTCP(t, addr).Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a connection above the limit: %v, want it closed", err)
	}
	held[0].Close()
	eventually(t, "a slot is free again", func() bool {
		conn, err := net.DialTimeout("tcp", addr.String(), patience)
		if err != nil {
			return false
		}
		defer conn.Close()
		if conn.SetDeadline(time.Now().Add(patience)) != nil {
			return false
		}
		if _, err := conn.Write(framed(t, 1, "mail.example.test.", dns.TypeA)); err != nil {
			return false
		}
		_, err = (&dns.Conn{Conn: conn}).ReadMsg()
		return err == nil
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if ok() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// epochView is a view whose parts all tell its epoch.
func epochView(t testing.TB, epoch uint64) *View {
	t.Helper()
	holder := Target{
		Name: fmt.Sprintf("h%d", epoch), Port: uint16(epoch),
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(epoch >> 8), byte(epoch)})},
	}
	view, err := Build(epoch, benchZones(), []ClusterView{{
		Name: "pg", Zone: "example.test", Epoch: epoch, Primary: &holder, Members: []Target{holder},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// TestAnswersNeverMixViews swaps views as fast as it can while clients ask for an
// SRV record with its address: both must be of one epoch, and epochs never fall.
func TestAnswersNeverMixViews(t *testing.T) {
	source := new(StaticSource)
	source.Set(epochView(t, 1))
	addr := start(t, Config{Source: source})[0].String()
	const views, clients = 300, 4
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	seen := make([]int, clients)
	for i := range clients {
		client := &dns.Client{Net: []string{"udp", "tcp"}[i%2], Timeout: patience}
		wg.Go(func() {
			var last uint16
			conn, err := client.Dial(addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for ctx.Err() == nil || seen[i] == 0 {
				q := testCase{question: "_postgresql._tcp.primary.pg.example.test. SRV"}.query(t)
				reply, _, err := client.ExchangeWithConn(q, conn)
				if err != nil {
					t.Error(err)
					return
				}
				epoch, err := oneEpoch(reply)
				if err != nil || epoch < last {
					t.Errorf("after epoch %d: %v\n%v", last, err, reply)
					return
				}
				if epoch != last {
					seen[i]++
				}
				last = epoch
			}
		})
	}
	for epoch := uint64(2); epoch <= views; epoch++ {
		source.Set(epochView(t, epoch))
	}
	eventually(t, "the last view is answered", func() bool {
		reply, _, err := new(dns.Client).Exchange(testCase{question: "example.test. SOA"}.query(t), addr)
		return err == nil && reply.Answer[0].(*dns.SOA).Serial == views
	})
	cancel()
	wg.Wait()
	for i, n := range seen {
		if n == 0 {
			t.Errorf("client %d got no answer", i)
		}
	}
}

// oneEpoch returns the epoch that all parts of an SRV reply tell.
func oneEpoch(reply *dns.Msg) (uint16, error) {
	if len(reply.Answer) != 1 || len(reply.Extra) != 2 {
		return 0, errors.New("not one SRV with one address")
	}
	srv, ok1 := reply.Answer[0].(*dns.SRV)
	a, ok2 := reply.Extra[0].(*dns.A)
	if !ok1 || !ok2 {
		return 0, errors.New("unexpected types")
	}
	if got := binary.BigEndian.Uint16(a.A.To4()[2:]); got != srv.Port || !strings.HasPrefix(srv.Target, fmt.Sprintf("h%d.", got)) {
		return 0, fmt.Errorf("SRV of epoch %d with the address of epoch %d", srv.Port, got)
	}
	return srv.Port, nil
}

func TestOlderViewIsIgnored(t *testing.T) {
	source := new(StaticSource)
	server, err := NewServer(Config{Addrs: []string{"127.0.0.1:0"}, Source: source})
	if err != nil {
		t.Fatal(err)
	}
	server.publish(epochView(t, 9))
	server.publish(epochView(t, 8))
	server.publish(nil)
	if got := server.current.Load().ix.view.Index; got != 9 {
		t.Fatalf("serving the view of index %d, want 9", got)
	}
}

func TestFirstViewMayComeLate(t *testing.T) {
	source := new(StaticSource)
	addr := start(t, Config{Source: source})[0].String()
	c := testCase{question: "example.test. SOA", rcode: dns.RcodeServerFailure, noAA: true, ede: 14}
	reply, _, err := (&dns.Client{Timeout: patience}).Exchange(c.query(t), addr)
	if err != nil {
		t.Fatal(err)
	}
	c.check(t, reply)
	source.Set(mustBuild(t, benchZones()))
	eventually(t, "the first view is served", func() bool {
		reply, _, err := new(dns.Client).Exchange(c.query(t), addr)
		return err == nil && reply.Rcode == dns.RcodeSuccess
	})
}

func TestMetrics(t *testing.T) {
	source := benchSource(t)
	reg := prometheus.NewRegistry()
	addr := start(t, Config{Source: source, Registerer: reg})[0].String()
	client := &dns.Client{Timeout: patience}
	for _, q := range []string{"mail.example.test. A", "mail.example.test. A", "no.example.test. TYPE4711"} {
		if _, _, err := client.Exchange(testCase{question: q}.query(t), addr); err != nil {
			t.Fatal(err)
		}
	}
	source.SetContact(3 * time.Second)
	for name, want := range map[string]float64{
		`quorate_dns_queries_total{rcode="NOERROR",transport="udp",type="A"}`:      2,
		`quorate_dns_queries_total{rcode="NXDOMAIN",transport="udp",type="other"}`: 1,
		`quorate_dns_view_index{}`:          42,
		`quorate_dns_view_faulty{}`:         0,
		`quorate_dns_contact_age_seconds{}`: 3,
	} {
		// A reply leaves the socket after it has been counted.
		if got, ok := gather(t, reg)[name]; !ok || got != want {
			t.Errorf("%s = %v (found %v), want %v", name, got, ok, want)
		}
	}
}

func gather(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			key := fmt.Sprintf("%s{%s}", f.GetName(), strings.Join(labels, ","))
			out[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return out
}

func TestRunReportsATakenAddress(t *testing.T) {
	taken := start(t, Config{Source: benchSource(t)})[0].String()
	server, err := NewServer(Config{Source: benchSource(t), Addrs: []string{"127.0.0.1:0", taken}})
	if err != nil {
		t.Fatal(err)
	}
	err = server.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), taken) || !strings.Contains(err.Error(), "another program") {
		t.Fatalf("error %v", err)
	}
}

func TestConfigFaultsAreReportedTogether(t *testing.T) {
	_, err := NewServer(Config{Addrs: []string{"localhost:53", "::1"}})
	for _, want := range []string{"localhost:53", `"::1"`, "no source"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not mention %s", err, want)
		}
	}
}

//go:build integration

package dns

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"quorate/dnsfailover"
)

// serverVariable makes this test binary a DNS server; see serve.
const (
	serverVariable  = "QUORATE_DNS_SERVE"
	changesVariable = "QUORATE_DNS_CHANGES" // state changes per second
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(serverVariable); addr != "" {
		if err := serve(addr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serve runs our server until standard input ends: everything is on as shipped,
// with a rate limit that counts but is never reached.
func serve(addr string) error {
	source := new(dnsfailover.StaticSource)
	view, err := ourView(1)
	if err != nil {
		return err
	}
	source.Set(view)
	server, err := dnsfailover.NewServer(dnsfailover.Config{Addrs: []string{addr}, Source: source, ID: "bench", RateLimit: 100_000_000})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if rate, _ := strconv.Atoi(os.Getenv(changesVariable)); rate > 0 {
		go func() {
			tick := time.NewTicker(time.Second / time.Duration(rate))
			defer tick.Stop()
			for index := uint64(2); ; index++ {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				if view, err := ourView(index); err == nil {
					source.Set(view)
				}
			}
		}()
	}
	return server.Run(ctx)
}

// ourView is the zone that the others read from a file; h0 carries the index in
// its last two bytes, so that each state has an answer of its own.
func ourView(index uint64) (*dnsfailover.View, error) {
	zone := dnsfailover.ZoneSpec{Name: Apex, Serial: uint32(index), NS: []dnsfailover.NameServer{
		{Name: "ns1." + Apex, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
		{Name: "ns2." + Apex, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.2")}},
	}}
	parser := dns.NewZoneParser(strings.NewReader(ZoneText()), "", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		h := rr.Header()
		if h.Rrtype == dns.TypeSOA || h.Rrtype == dns.TypeNS || strings.HasPrefix(h.Name, "ns") {
			continue
		}
		value := strings.TrimPrefix(rr.String(), h.String())
		if h.Name == "h0."+Apex && h.Rrtype == dns.TypeA && index > 1 {
			value = fmt.Sprintf("10.0.%d.%d", byte(index>>8), byte(index))
		}
		zone.Records = append(zone.Records, dnsfailover.RRset{Name: h.Name, Type: h.Rrtype, TTL: h.Ttl, Values: []string{value}})
	}
	if err := parser.Err(); err != nil {
		return nil, err
	}
	return dnsfailover.Build(index, []dnsfailover.ZoneSpec{zone}, nil)
}

// server is one process that answers DNS on loopback.
type server struct {
	name string
	addr netip.AddrPort
	pid  int
}

// freePort returns a port that is free for UDP and TCP.
func freePort(t *testing.T) int {
	t.Helper()
	for range 50 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := tcp.Addr().(*net.TCPAddr).Port
		udp, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
		_ = tcp.Close()
		if err == nil {
			_ = udp.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// start runs a command pinned to CPU 0 and waits until it answers.
func start(t *testing.T, name string, port int, env []string, command ...string) *server {
	t.Helper()
	cmd := exec.Command("taskset", append([]string{"-c", "0"}, command...)...)
	cmd.Env = append(os.Environ(), env...)
	logFile, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = logFile, logFile
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Signal(os.Interrupt)
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		_ = logFile.Close()
	})
	s := &server{name: name, addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)), pid: cmd.Process.Pid}
	client := &dns.Client{Timeout: time.Second}
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		reply, _, err := client.Exchange(new(dns.Msg).SetQuestion("h1."+Apex, dns.TypeA), s.addr.String())
		if err == nil && len(reply.Answer) == 1 {
			return s
		}
		if time.Since(began) > time.Minute {
			text, _ := os.ReadFile(logFile.Name())
			t.Fatalf("%s does not answer: %v\n%s", name, err, text)
		}
	}
}

func startOurs(t *testing.T, changes int) *server {
	port := freePort(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return start(t, "quorate", port, []string{
		fmt.Sprintf("%s=127.0.0.1:%d", serverVariable, port), fmt.Sprintf("%s=%d", changesVariable, changes),
	}, exe)
}

// write puts a file with the given text into dir.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func startNSD(t *testing.T) *server {
	dir, port := t.TempDir(), freePort(t)
	write(t, dir, "zone", ZoneText())
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
	rrl-ratelimit: 0
remote-control:
	control-enable: no
zone:
	name: %q
	zonefile: "zone"
`, port, dir, dir+"/list", dir+"/xfrd", dir, dir+"/pid", strings.TrimSuffix(Apex, ".")))
	return start(t, "nsd", port, nil, "nsd", "-d", "-c", conf)
}

func startKnot(t *testing.T) *server {
	dir, port := t.TempDir(), freePort(t)
	write(t, dir, "zone", ZoneText())
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
    any: warning
zone:
  - domain: %s
    storage: %s
    file: zone
`, port, dir, dir, dir, Apex, dir))
	return start(t, "knot", port, nil, "knotd", "-c", conf, "-s", dir+"/control")
}

func startGdnsd(t *testing.T) *server {
	dir, port := t.TempDir(), freePort(t)
	write(t, dir, "etc/zones/bench.test", ZoneText())
	write(t, dir, "etc/config", fmt.Sprintf(`options => {
	listen => 127.0.0.1:%d, run_dir => %s/run, state_dir => %s/state, udp_threads => 1, tcp_threads => 1,
}
`, port, dir, dir))
	for _, sub := range []string{"run", "state"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return start(t, "gdnsd", port, nil, "gdnsd", "-c", dir+"/etc", "start")
}

// busy returns the processor time that a server, its threads and its children have
// used: /proc/PID/task/TID/schedstat, proc(5).
func (s *server) busy(t *testing.T) time.Duration {
	t.Helper()
	var sum time.Duration
	for _, pid := range family(s.pid) {
		stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, path := range stats {
			raw, err := os.ReadFile(path)
			if err != nil {
				continue // the thread has ended
			}
			ns, err := strconv.ParseInt(strings.Fields(string(raw))[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += time.Duration(ns)
		}
	}
	if sum == 0 {
		t.Fatalf("%s: no processor time found for process %d", s.name, s.pid)
	}
	return sum
}

// family returns a process and all below it.
func family(pid int) []int {
	out := []int{pid}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, path := range lists {
		raw, _ := os.ReadFile(path)
		for _, field := range strings.Fields(string(raw)) {
			if child, err := strconv.Atoi(field); err == nil {
				out = append(out, family(child)...)
			}
		}
	}
	return out
}

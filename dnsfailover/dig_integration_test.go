//go:build integration

package dnsfailover

import (
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// dig runs the real dig against a server of ours.
func dig(t *testing.T, addr netip.AddrPort, args ...string) string {
	t.Helper()
	args = append([]string{"@" + addr.Addr().String(), "-p", strings.TrimPrefix(addr.String(), addr.Addr().String()+":"), "+tries=1", "+timeout=30"}, args...)
	out, err := exec.CommandContext(t.Context(), "dig", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("dig %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestDig has a foreign client and parser judge the answers.
func TestDig(t *testing.T) {
	if _, err := exec.LookPath("dig"); err != nil {
		t.Fatal("dig is not installed: Debian package bind9-dnsutils")
	}
	source := benchSource(t)
	addr := start(t, Config{Source: source, ID: "w1", Version: "quorate-test"})[0]
	for _, tt := range []struct {
		args string
		age  time.Duration
		want []string // regular expressions
		not  []string
	}{
		{args: "+norec primary.pg.example.test A", want: []string{`NOERROR`, `flags: qr aa;`, `primary\.pg\.example\.test\.\s+5\s+IN\s+A\s+10\.0\.0\.1`, `udp: 1232`}},
		{args: "+norec +tcp primary.pg.example.test A", want: []string{`flags: qr aa;`, `10\.0\.0\.1`}},
		{args: "+rec primary.pg.example.test TXT", want: []string{`flags: qr aa rd;`, `"epoch=7 holder=pg1"`}},
		{args: "+norec _postgresql._tcp.primary.pg.example.test SRV", want: []string{`SRV\s+0 0 5432 pg1\.pg\.example\.test\.`, `ADDITIONAL: 2`}},
		{args: "+norec no.example.test", want: []string{`NXDOMAIN`, `example\.test\.\s+7\s+IN\s+SOA`}},
		{args: "+norec deep.example.test", want: []string{`NOERROR`, `ANSWER: 0, AUTHORITY: 1`}},
		{args: "+norec MaIl.ExAmPlE.TeSt", want: []string{`\nMaIl\.ExAmPlE\.TeSt\.\s+60\s+IN\s+A`}},
		{args: "+norec big.example.test TXT", want: []string{`ANSWER: 20`, `\(TCP\)`}}, // dig goes on by TCP
		{args: "+norec +ignore big.example.test TXT", want: []string{`flags: qr aa tc;`, `ANSWER: 0`}},
		{args: "+norec +noedns mail.example.test", want: []string{`NOERROR`}, not: []string{`OPT PSEUDOSECTION`}},
		{args: "+norec +dnssec mail.example.test", want: []string{`flags: do; udp: 1232`}},
		{args: "+norec +edns=1 +noednsneg mail.example.test", want: []string{`BADVERS`, `ANSWER: 0`, `version: 0`}},
		{args: "+norec +ednsopt=65001:010203 mail.example.test", want: []string{`NOERROR`}, not: []string{`OPT=65001`}},
		{args: "+norec +ednsflags=0x7fff mail.example.test", want: []string{`NOERROR`}, not: []string{`MBZ`}},
		{args: "+norec +cookie +nsid +subnet=192.0.2.0/24 mail.example.test", want: []string{`NOERROR`, `COOKIE: [0-9a-f]{48} \(good\)`, `NSID: 77 31 \("w1"\)`, `CLIENT-SUBNET: 192\.0\.2\.0/24/0`}},
		{args: "+norec +cookie mail.example.test", want: []string{`NOERROR`, `COOKIE: [0-9a-f]{48} \(good\)`, `192\.0\.2\.25`}},
		{args: "+norec +opcode=9 mail.example.test", want: []string{`opcode: RESERVED9, status: NOTIMP`, `flags: qr;`, `QUERY: 0`}},
		{args: "+norec +header-only mail.example.test", want: []string{`FORMERR`, `QUERY: 0`}},
		{args: "+norec other.test", want: []string{`REFUSED`, `flags: qr;`, `EDE: 20 \(Not Authoritative\)`}},
		{args: "+norec -c HS example.test SOA", want: []string{`REFUSED`}},
		{args: "+norec -c CH -t TXT id.server", want: []string{`"w1"`}},
		{args: "+norec example.test AXFR", want: []string{`Transfer failed`}},
		{args: "+norec ANY mail.example.test", want: []string{`ANSWER: 1`}},
		{args: "+norec primary.pg.example.test A", age: 14 * time.Second, want: []string{`SERVFAIL`, `EDE: 22 \(No Reachable Authority\): \(no quorum for 14s\)`}},
		{args: "+norec primary.pg.example.test A", age: 5 * time.Second, want: []string{`10\.0\.0\.1`, `EDE: 3 \(Stale Answer\)`}},
		{args: "+norec +keepopen +tcp mail.example.test A www.example.test A no.example.test A", want: []string{`192\.0\.2\.25`, `192\.0\.2\.80`, `NXDOMAIN`}},
	} {
		t.Run(tt.args, func(t *testing.T) {
			source.SetContact(tt.age)
			out := dig(t, addr, strings.Fields(tt.args)...)
			for _, re := range append(tt.want, "^") {
				if !regexp.MustCompile(re).MatchString(out) {
					t.Errorf("no match for %s in:\n%s", re, out)
				}
			}
			for _, re := range append(tt.not, "[Mm]alformed|extra bytes|parser error|mismatch|Warning:") {
				if regexp.MustCompile(re).MatchString(out) {
					t.Errorf("match for %s in:\n%s", re, out)
				}
			}
		})
	}
}

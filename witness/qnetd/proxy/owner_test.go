package proxy

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
)

const procTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:151B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:151B 0100007F:A1B2 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   2: 0100007F:A1B2 0100007F:151B 01 00000000:00000000 00:00000000 00000000  1000        0 3 1 0 20 4 30 10 -1
   3: 00000000000000000000000001000000:A1B3 00000000000000000000000001000000:151B 01 00000000:00000000 00:00000000 00000000  1001        0 3 1
   4: broken
`

func TestOwner(t *testing.T) {
	for _, c := range []struct {
		from, to string
		uid      int
	}{
		{"127.0.0.1:41394", "127.0.0.1:5403", 1000},
		{"[::1]:41395", "[::1]:5403", 1001},
		{"127.0.0.1:41395", "127.0.0.1:5403", -1},
		{"127.0.0.1:41394", "127.0.0.1:5404", -1},
	} {
		uid, err := owner(strings.NewReader(procTable), netip.MustParseAddrPort(c.from), netip.MustParseAddrPort(c.to))
		if err != nil {
			uid = -1
		}
		if uid != c.uid {
			t.Errorf("%s to %s: %d, %v, want %d", c.from, c.to, uid, err, c.uid)
		}
	}
}

func TestOwnerIsRoot(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("%s: %v", address, err) // a machine without IPv6
			continue
		}
		defer l.Close()
		out, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		in, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		if err := OwnerIsRoot(in); err != nil {
			t.Errorf("a connection of our own (user %d): %v", os.Getuid(), err)
		}
	}
}

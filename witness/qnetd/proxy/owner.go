package proxy

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// OwnerIsRoot takes a connection only from a process of root, or of the user
// that the proxy itself runs as. A local connection speaks for the node: with
// TLS the key for that is readable by root alone, and it shall stay so.
func OwnerIsRoot(nc net.Conn) error {
	remote, err := netip.ParseAddrPort(nc.RemoteAddr().String())
	if err != nil {
		return err
	}
	local, err := netip.ParseAddrPort(nc.LocalAddr().String())
	if err != nil {
		return err
	}
	table := "/proc/self/net/tcp"
	if remote.Addr().Is6() && !remote.Addr().Is4In6() {
		table = "/proc/self/net/tcp6"
	}
	f, err := os.Open(table)
	if err != nil {
		return fmt.Errorf("cannot tell whose connection it is: %w", err)
	}
	defer f.Close()
	uid, err := owner(f, remote, local)
	if err != nil {
		return fmt.Errorf("cannot tell whose connection it is: %w", err)
	}
	if uid != 0 && uid != os.Getuid() {
		return fmt.Errorf("it is of user %d; corosync-qdevice runs as root", uid)
	}
	return nil
}

// owner finds the user of the socket from local to remote in a table as proc(5)
// describes it.
func owner(table io.Reader, local, remote netip.AddrPort) (int, error) {
	lines := bufio.NewScanner(table)
	lines.Scan() // the heading
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 {
			continue
		}
		l, err := procAddr(fields[1])
		if err != nil || l != unmap(local) {
			continue
		}
		if r, err := procAddr(fields[2]); err == nil && r == unmap(remote) {
			return strconv.Atoi(fields[7])
		}
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("no socket from %v to %v", local, remote)
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// procAddr reads an address: words of 32 bits in the byte order of the machine,
// which is little endian on all that Quorate is built for, and a port.
func procAddr(s string) (netip.AddrPort, error) {
	addr, port, ok := strings.Cut(s, ":")
	raw, err := hex.DecodeString(addr)
	if !ok || err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", s)
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ip, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), uint16(p)), nil
}
